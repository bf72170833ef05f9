"""Where attacks run: through the public path, with proof that nothing is left, and without any guard."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import requests

from autoscorer import pipeline
from autoscorer.executor.docker.transport import close_what_cannot_connect
from autoscorer.runtime import job_context
from autoscorer.scorers.catalog import Catalog
from autoscorer.utils.config import Config
from autoscorer.utils.errors import AutoscorerError
from tests.attacks.case import TOKEN, TRUTH, Attack, Mended, Plain, Seen
from tests.attacks.images import Images
from tests.attacks.leftovers import Lifetime, left_behind, lifetimes
from tests.executor.attempts import processes_with

GRACE_S = 2.0
SETTLE_S = 2.0  # what the engine may need to take a container away
NAIVE_HARVEST = """
import os, sys
source, target = sys.argv[1:]
for folder, _, files in os.walk(source, followlinks=True):
    into = os.path.join(target, os.path.relpath(folder, source))
    os.makedirs(into, exist_ok=True)
    for name in files:
        with open(os.path.join(folder, name), "rb") as file, open(os.path.join(into, name), "wb") as copy:
            while chunk := file.read(2**20):
                if copy.tell() > 3 * 10**8: raise SystemExit("there is no end to it")
                copy.write(chunk)
"""
NAIVE_PATIENCE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Contained:
    """One attack through the public path: its verdict, what came of it, what was left."""

    seen: Seen
    error: AutoscorerError | None
    left: list[str]
    lifetimes: list[Lifetime]

    @property
    def code(self) -> str | None:
        return self.error.code if self.error else None


@dataclass
class Arena:
    """One engine and a folder for workspaces."""

    engine: Any
    host: str
    root: Path
    images: Images
    _made: int = field(default=0)

    def folder(self, name: str) -> Path:
        self._made += 1
        path = self.root / f"{name}{self._made}"
        path.mkdir(parents=True)
        return path

    def variables(self) -> dict[str, str]:
        """The operator's configuration: this engine and our folders."""
        return {
            "DOCKER_HOST": self.host,
            "DATA_DIR": str(self.root / "data"),
            "LOG_DIR": str(self.root / "log"),
        }

    def settings(self, changes: Mapping[str, str]) -> Config:
        """That configuration and these changes, nothing of the environment."""
        return Config(self.root / "none.yaml", environ={**self.variables(), **changes})

    def workspace(self, attack: Attack, *, job_id: str | None = None) -> Path:
        """A workspace whose container runs the attack's program, with a truth it must not see."""
        root = self.folder("ws")
        for name in ("input", "reference"):
            (root / name).mkdir()
        (root / "input" / "data.csv").write_text("id\n1\n")
        (root / "reference" / "gt.csv").write_text(f"id,label\n1,{TRUTH}\n")
        (root / "meta.json").write_text(json.dumps(self.spec(attack, job_id=job_id)))
        return root

    def spec(self, attack: Attack, *, job_id: str | None = None) -> dict[str, Any]:
        container = {"image": self.images.name(attack.image), "cmd": attack.command, **attack.container}
        given = container.pop("env", {})
        return {
            "job_id": job_id or f"attack-{uuid.uuid4().hex}",
            "task_type": "classification",
            "scorer": "classification_f1",
            "time_limit": attack.time_limit_s,
            "resources": {"cpu": 1, "memory": "256Mi", "gpus": 0, **attack.resources},
            "container": {**container, "env": {"GOAL": str(attack.goal), TOKEN: uuid.uuid4().hex, **given}},
        }

    def run(self, attack: Attack, *, workspace: Path | None = None) -> Contained:
        """Run it as `autoscorer run WS --backend docker` does."""
        workspace = workspace or self.workspace(attack)
        spec = read_spec(workspace)
        context = job_context(self.settings(attack.settings).settings, Catalog(), backend="docker")
        since, error = time.time(), None
        try:
            pipeline.run(context, workspace)
        except AutoscorerError as exc:
            error = exc
        return Contained(
            seen=self.seen(workspace, error, alive=len(processes_with(spec["container"]["env"][TOKEN]))),
            error=error,
            left=left_behind(self.engine, workspace, spec["job_id"], since=since),
            lifetimes=lifetimes(self.engine, spec["job_id"], since=since),
        )

    def seen(self, workspace: Path, error: AutoscorerError | None, *, alive: int = 0) -> Seen:
        log = workspace / "logs" / "container.log"
        details = error.details if error else {}
        return Seen(
            log=log.read_bytes() if log.exists() else b"",
            output=workspace / "output",
            shown=f"{error.message if error else ''} {(details or {}).get('stderr_tail', '')}",
            alive=alive,
        )

    def without_guard(self, attack: Attack) -> Seen:
        """What the attack does where nothing holds it; for a fault, that the job runs when it is mended."""
        control = attack.control
        if isinstance(control, Plain):
            return self.plain(attack, control)
        assert not isinstance(control, Mended)
        return control(self, attack)

    def plain(self, attack: Attack, control: Plain) -> Seen:
        """The program in a plain container, its output taken as one would who thinks no evil."""
        with self.container(attack, control) as (container, out):
            log = _follow(container, control)
            taken = self.folder("taken")
            failed = naive_harvest(out, taken)
        return Seen(log=log, output=taken, shown=log.decode("utf-8", "replace"), failed=failed)

    @contextmanager
    def running(self, attack: Attack, *, goal: int) -> Iterator[Path]:
        """Its output folder while it runs in a plain container."""
        with self.container(attack, Plain(goal=goal)) as (container, out):
            container.start()
            yield out

    @contextmanager
    def container(self, attack: Attack, control: Plain) -> Iterator[tuple[Any, Path]]:
        """A plain container, made and not started; removed with its volumes in the end."""
        workspace = self.workspace(attack)
        out = workspace / ".attempts" / "1" / "out"
        out.mkdir(parents=True)
        binds = [f"{out}:/workspace/output", f"{workspace / 'input'}:/workspace/input:ro"]
        if control.one_mount:
            (workspace / "output").rmdir() if (workspace / "output").exists() else None
            (workspace / "output").symlink_to(out.relative_to(workspace))
            binds = [f"{workspace}:/workspace"]
        goal = attack.goal if control.goal is None else control.goal
        options = {"network_mode": "none", **control.options}
        created = self.engine.api.create_container(
            self.images.name(attack.image),
            attack.command,
            working_dir="/workspace",
            environment={**attack.container.get("env", {}), "GOAL": str(goal)},
            labels={"autoscorer.test": "control"},
            host_config={**self.engine.api.create_host_config(binds=binds, **options), **control.host_config},
        )
        container = self.engine.containers.get(created["Id"])
        try:
            yield container, out
        finally:
            container.remove(v=True, force=True)


def _follow(container: Any, control: Plain) -> bytes:
    container.start()
    try:
        container.wait(timeout=control.give_up_s)
    except (requests.ConnectionError, requests.ReadTimeout):
        return bytes(container.logs()) + b"WON: it is still there"
    return bytes(container.logs())


def naive_harvest(source: Path, target: Path) -> str | None:
    """Copy what is there, links followed; None, or how that went wrong."""
    command = [sys.executable, "-c", NAIVE_HARVEST, str(source), str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=NAIVE_PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        return "it hangs"
    return None if done.returncode == 0 else done.stderr.strip()[-300:]


def connect(host: str, *, timeout_s: float = 60) -> Any:
    client = docker.DockerClient(base_url=host, timeout=timeout_s, version="1.41")
    close_what_cannot_connect(client.api)
    return client


def read_spec(workspace: Path) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((workspace / "meta.json").read_bytes())
    return spec


def job_id_of(workspace: Path) -> str:
    return str(read_spec(workspace)["job_id"])
