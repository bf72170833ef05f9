"""Scorers that misbehave, as files, and a view for them to score."""

from __future__ import annotations

import hashlib
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.child.host import ChildHost
from autoscorer.scorers.host import Code, Entry, Scoring
from autoscorer.utils.config import Config, Settings

HEAD = """
import ctypes, json, os, signal, socket, subprocess, sys, threading, time
from pathlib import Path
from autoscorer.schemas.result import Result
from autoscorer.scorers.base import BaseScorer
from autoscorer.scorers.registry import register
from autoscorer.utils.errors import AutoscorerError

def good(**metrics):
    return Result(summary={"score": 1.0}, metrics=metrics or {"m": 1.0},
                  versioning={"scorer": "odd", "version": "1", "timestamp": "2026-01-01T00:00:00Z"})

@register("odd")
class Odd(BaseScorer):
    name = "odd"
    version = "1"
    def score(self, workspace, params):
"""


def config() -> Config:
    """The default configuration, whatever the environment says."""
    return Config(environ={})


def settings(**changes: Any) -> Settings:
    """The default settings with ``changes``; a scorer gets ten seconds and 300 MiB."""
    fast: dict[str, Any] = {"scorer_time_limit_s": 10, "scorer_memory_bytes": 300 * 2**20}
    return replace(config().settings, **{**fast, **changes})


def scorer_file(folder: Path, body: str) -> Path:
    """A file with a scorer called odd whose `score` is ``body``."""
    folder.mkdir(exist_ok=True)
    path = folder / "odd.py"
    path.write_text(HEAD + textwrap.indent(textwrap.dedent(body).strip(), " " * 8) + "\n")
    return path


def entry_of(path: Path, **card: Any) -> Entry:
    """The entry of a file's scorer."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    known = {"name": "odd", "version": "1", "sha256": sha256, "origin": "stored", **card}
    return Entry(card=ScorerCard(**known), code=Code(path=path))


def view(folder: Path) -> Path:
    """A view as the platform lays it out: one truth, one delivered file."""
    root = folder / "view"
    for name in ("reference", "output"):
        (root / name).mkdir(parents=True)
    (root / "reference" / "gt.csv").write_text("id,label\n1,cat\n2,dog\n")
    (root / "output" / "pred.csv").write_text("id,label\n1,cat\n2,cat\n")
    return root


def score(host: ChildHost, folder: Path, body: str, params: dict[str, Any] | None = None) -> Scoring:
    """What the host says of a scorer whose `score` is ``body``."""
    entry = entry_of(scorer_file(folder / "code", body))
    root = folder / "view"
    return host.score(entry, root if root.exists() else view(folder), params or {})
