"""The log of a job's container while it grows: that of this job, not of another one in the same workspace."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from autoscorer import records
from autoscorer.api.service import Service
from autoscorer.store.records import Action, Job, Lease
from autoscorer.utils.artifacts import open_below
from autoscorer.utils.errors import AutoscorerError
from autoscorer.worker import workspace_of

JOB_LOG = "job.jsonl"
CHUNK_BYTES = 2**16


class GrowingLog:
    """The log ``name`` of a job's workspace, read from a place on; `close` always. For one thread at a time.

    A new attempt begins a new file: reading goes on at its beginning.
    """

    def __init__(self, service: Service, job: Job, name: str) -> None:
        self._job, self._name = job, name
        self._root = service.homes.root
        self._logs = self._folder(service)
        self._file: int | None = None
        self._at = 0

    def open(self, *, offset: int, tail: int | None) -> bool:
        """Whether the log is there. Reading starts at ``offset``, or ``tail`` bytes before its end now."""
        self._file = self._opened()
        if self._file is not None:
            size = os.fstat(self._file).st_size
            self._at = offset if tail is None else max(0, size - tail)
        return self._file is not None

    def read(self) -> bytes:
        """What has come since, at most `CHUNK_BYTES`; nothing if nothing has, or the log is not there yet."""
        if self._file is None and not self.open(offset=0, tail=None):
            return b""
        assert self._file is not None
        if piece := os.pread(self._file, CHUNK_BYTES, self._at):
            self._at += len(piece)
            return piece
        return self._next_file()

    def close(self) -> None:
        """Safe to call twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _next_file(self) -> bytes:
        fresh = self._opened()
        if fresh is None:
            return b""
        assert self._file is not None
        if os.path.samestat(os.fstat(fresh), os.fstat(self._file)):
            os.close(fresh)
            return b""
        self.close()
        self._file, self._at = fresh, 0
        return self.read() if os.fstat(fresh).st_size else b""

    def _opened(self) -> int | None:
        """The log's descriptor if it is this job's: opened between two looks at whose it is.

        Whoever runs next in the workspace removes the log first, then signs, then begins its own
        (`records.begin_run`). So what was opened before the second look found our name is ours.
        """
        if self._logs is None or not (self._name == JOB_LOG or self._is_ours()):
            return None
        descriptor = self._open(self._name)
        if descriptor is not None and self._name != JOB_LOG and not self._is_ours():
            os.close(descriptor)
            return None
        return descriptor

    def _is_ours(self) -> bool:
        noted = self._open(records.LOG_OWNER)
        if noted is None:
            return False
        try:
            lease = Lease.parse(records.log_owner(noted))
        finally:
            os.close(noted)
        return lease is not None and lease.task_id == self._job.task_id

    def _open(self, name: str) -> int | None:
        assert self._logs is not None
        with suppress(OSError):
            return open_below(self._root, (*self._logs.relative_to(self._root).parts, name))
        return None

    def _folder(self, service: Service) -> Path | None:
        with suppress(AutoscorerError):
            return workspace_of(self._job, service.settings) / "logs"
        return None


def has_container_log(job: Job) -> bool:
    """Whether a job of its kind runs a container at all."""
    return job.action is not Action.SCORE
