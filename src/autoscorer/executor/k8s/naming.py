"""What everything we make in a cluster is called, and how it is found again."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autoscorer.executor.base import AttemptPlan
from autoscorer.executor.ownership import this_machine

MANAGED_BY = "app.kubernetes.io/managed-by"
OURS = "autoscorer"
LABEL_ATTEMPT = "autoscorer.io/attempt"
LABEL_NETWORK = "autoscorer.io/network"
ANNOTATION_OWNER = "autoscorer.io/owner"
ANNOTATION_JOB = "autoscorer.io/job-id"
ANNOTATION_CONTENT = "autoscorer.io/content"
MAIN, SIDECAR = "main", "sidecar"


def job_name(plan: AttemptPlan) -> str:
    """The same for every attempt of a job in its workspace: so what a dead controller has begun is found.

    Under a lease the task counts, else this machine: the same path is another workspace elsewhere. The full
    ids are hashed, so ids that share a prefix, or are no DNS labels, never meet.
    """
    holder = task_of(plan.lease) or this_machine()
    text = "\0".join((plan.job_id, str(plan.attempt_dir.parent), holder))
    return f"autoscorer-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def task_of(lease: str) -> str:
    """The task a lease is for; empty without one."""
    return lease.partition("/")[0]


def attempt_of(lease: str) -> int:
    """Which attempt at its task a lease is for; 0 without one."""
    number = lease.partition("/")[2].partition("/")[0]
    return int(number) if number.isascii() and number.isdecimal() else 0


def labels(name: str, *, network: str) -> dict[str, str]:
    return {MANAGED_BY: OURS, LABEL_ATTEMPT: name, LABEL_NETWORK: network}


def content_digest(plan: AttemptPlan, body: Mapping[str, Any]) -> str:
    """What an attempt runs, on what: one of the same digest may take up what another has begun.

    Of the input the names, sizes and times of change count, as `make` has it; of the spec every byte.
    """
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode())
    digest.update(plan.spec_path.read_bytes())
    for line in _listing(plan.input_dir):
        digest.update(line)
    return digest.hexdigest()


def _listing(folder: Path) -> Iterator[bytes]:
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(root, name)  # noqa: PTH118 - a million files
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            yield f"{os.path.relpath(path, folder)}\0{kind}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(
                "utf-8", "surrogateescape"
            )
