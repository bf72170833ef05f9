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

MANAGED_BY = "app.kubernetes.io/managed-by"
OURS = "autoscorer"
LABEL_ATTEMPT = "autoscorer.io/attempt"
LABEL_NETWORK = "autoscorer.io/network"
ANNOTATION_OWNER = "autoscorer.io/owner"
ANNOTATION_JOB = "autoscorer.io/job-id"
ANNOTATION_CONTENT = "autoscorer.io/content"
MAIN, HELPER = "main", "helper"


def job_name(plan: AttemptPlan) -> str:
    """The same for the same attempt, whoever asks: so an attempt that is made twice is found to be there.

    The full ids are hashed, so ids that share a prefix, or are no DNS labels, never meet.
    """
    text = "\0".join((plan.job_id, plan.attempt_id, str(plan.attempt_dir), plan.lease))
    return f"autoscorer-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def labels(name: str, *, network: str) -> dict[str, str]:
    return {MANAGED_BY: OURS, LABEL_ATTEMPT: name, LABEL_NETWORK: network}


def content_digest(plan: AttemptPlan, body: Mapping[str, Any]) -> str:
    """What an attempt would run on what: two of the same digest are one attempt, and may share a pod.

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
