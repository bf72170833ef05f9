"""Logs: what happened to one job, and what the service did. JSON lines that several processes may write.

    JobLogger(job_id, workspace)        <workspace>/logs/job.jsonl
    configure_service_log(settings)     LOG_DIR/autoscorer.log; then log_event("ERROR", "…", error=exc)
    with bound(task_id=…, attempt=…):   every line written in the block says so

Both rotate by size and filter secrets out. The service log stands on the standard library's logging:
structlog takes 0.12 s to import, which every command would pay.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import logging
import math
import os
import re
import stat
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autoscorer.settings.secrets import MASK, is_hidden, mask_text
from autoscorer.settings.table import Settings
from autoscorer.utils.errors import AutoscorerError, Stage

JOB_LOG_BYTES = 10 * 2**20
JOB_LOG_BACKUPS = 3
_MAX_LINE_BYTES = 256 * 2**10
_MAX_TEXT = 4096
_MAX_TRACEBACK = 32_768
_MAX_ITEMS = 1000
_MAX_DEPTH = 8
_LOCK_PATIENCE_S = 2.0
_SWEEP_EVERY_S = 3600.0
# What JSON leaves as it is and a terminal, or a program that splits lines, does not: DEL, the C1
# controls, line separators, direction marks, lone surrogates.
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

_BOUND: ContextVar[tuple[tuple[str, object], ...]] = ContextVar("autoscorer_bound_ids", default=())
_OF_A_JOB = ("task_id", "attempt")  # its own log may be read by its submitter: no worker, no request
_IDS = ("request_id", "job_id", *_OF_A_JOB, "worker")


@contextlib.contextmanager
def bound(**ids: object) -> Iterator[None]:
    """Have every line that is logged within the block carry ``ids``, such as ``request_id`` or ``task_id``.

    Blocks nest; an inner one, or a line itself, has the last word. The ids hold in this thread or task, in
    the tasks it starts and in ``contextvars.copy_context()``; a plain new thread begins without them.
    """
    token = _BOUND.set(tuple((dict(_BOUND.get()) | ids).items()))
    try:
        yield
    finally:
        _BOUND.reset(token)


def bound_ids() -> dict[str, object]:
    """The ids that lines carry here."""
    return dict(_BOUND.get())


class JsonLines:
    """A file in a folder that lines are appended to, whole, by any number of processes and threads.

    One line is one write; a line that would pass ``max_bytes`` first makes ``name`` ``name.1``, and so on
    up to ``backups``. Files whose newest line is older than ``retention_s`` go. No link is followed.
    Writers exclude each other by a lock on the folder, which leaves no file behind.
    """

    def __init__(
        self,
        open_folder: Callable[[], int],
        name: str,
        *,
        max_bytes: int,
        backups: int,
        retention_s: float | None = None,
    ) -> None:
        self._open_folder = open_folder
        self._name = name
        self._max_bytes = max_bytes
        self._backups = backups
        self._retention_s = retention_s
        self._swept_at = -math.inf

    def append(self, line: bytes) -> None:
        """Append ``line``; with ``b""`` only make sure that it could be. Raises OSError."""
        with _opened(self._open_folder()) as folder:
            locked = _lock(folder)
            if locked and time.monotonic() - self._swept_at > _SWEEP_EVERY_S:
                self._sweep(folder)
            with _opened(self._open(folder, len(line), may_rotate=locked)) as file:
                if os.write(file, line) < len(line):
                    raise OSError("the disk is full")

    def _open(self, folder: int, more: int, *, may_rotate: bool) -> int:
        """The file, with room for ``more`` bytes if it could be rotated."""
        file, size = self._opened_with_size(folder)
        if may_rotate and size > 0 and size + more > self._max_bytes:
            os.close(file)
            self._rotate(folder)
            file, _ = self._opened_with_size(folder)
        return file

    def _opened_with_size(self, folder: int) -> tuple[int, int]:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(self._name, flags, 0o640, dir_fd=folder)
        status = os.fstat(file)
        # A second hard link would let whoever planted it have us write into another file.
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            os.close(file)
            raise OSError("not a regular file of its own")
        return file, status.st_size

    def _rotate(self, folder: int) -> None:
        names = [self._name, *(f"{self._name}.{number}" for number in range(1, self._backups + 1))]
        # A name that cannot be moved (a folder stands there) must not cost a line.
        with contextlib.suppress(OSError):
            os.unlink(names[-1], dir_fd=folder)
        for source, target in reversed(list(itertools.pairwise(names))):
            with contextlib.suppress(OSError):
                os.rename(source, target, src_dir_fd=folder, dst_dir_fd=folder)

    def _sweep(self, folder: int) -> None:
        """Remove what is older than the retention or beyond the number of backups."""
        self._swept_at = time.monotonic()
        oldest = time.time() - self._retention_s if self._retention_s is not None else -math.inf
        for name in os.listdir(folder):
            number = re.fullmatch(rf"{re.escape(self._name)}(?:\.([0-9]{{1,6}}))?", name)
            if number is None:
                continue
            with contextlib.suppress(OSError):
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if int(number[1] or 0) > self._backups or status.st_mtime < oldest:
                    os.unlink(name, dir_fd=folder)


class JobLogger:
    """The log of one job: one JSON object a line, ``{timestamp, level, event, data}``.

    Raises CONFIG_VALIDATION_ERROR (cause workspace) when the log cannot be written from the start, or
    when ``logs`` or ``job.jsonl`` is a link. Once it was started it never fails a job: what could
    not be written is counted in ``dropped_lines``.
    """

    def __init__(
        self,
        job_id: str,
        workspace: Path,
        *,
        secrets: Sequence[str] = (),
        max_bytes: int = JOB_LOG_BYTES,
        backups: int = JOB_LOG_BACKUPS,
    ) -> None:
        self.job_id = job_id
        self.workspace = Path(workspace)
        self.dropped_lines = 0
        self._secrets = tuple(secrets)
        self._lines = JsonLines(self._open_logs, "job.jsonl", max_bytes=max_bytes, backups=backups)
        try:
            self._lines.append(b"")
        except OSError as exc:
            raise AutoscorerError(
                "CONFIG_VALIDATION_ERROR",
                f"logs/job.jsonl cannot be written: {exc.strerror or exc}",
                {"file": "logs/job.jsonl", "expected": "a writable folder logs/ and no links in it"},
                cause="workspace",
            ) from exc

    def record(self, event: str, data: Mapping[str, Any] | None = None, *, level: str = "INFO") -> None:
        """Any event, for instance one that a backend reports."""
        ids = {key: value for key, value in bound_ids().items() if key in _OF_A_JOB}
        told = {"job_id": self.job_id, **ids, **(data or {})}
        line = encode_line(event, told, level=level, secrets=self._secrets)
        try:
            self._lines.append(line)
        except OSError:
            self.dropped_lines += 1

    def start(self, spec: object) -> None:
        """``spec`` is the job's specification: a mapping, a model or a dataclass."""
        self.record("job_started", {"workspace": str(self.workspace), "spec": spec})

    def execution_start(self, backend: str, info: Mapping[str, Any] | None = None) -> None:
        self.record("execution_started", {"backend": backend, "info": dict(info or {})})

    def execution_completed(self, *, duration_seconds: float, **data: Any) -> None:
        self.record("execution_completed", {"duration_seconds": duration_seconds, **data})

    def scoring_start(self, scorer: str, info: Mapping[str, Any] | None = None) -> None:
        self.record("scoring_started", {"scorer": scorer, "info": dict(info or {})})

    def scoring_completed(self, *, duration_seconds: float, **data: Any) -> None:
        self.record("scoring_completed", {"duration_seconds": duration_seconds, **data})

    def warning(self, code: str, message: str, **data: Any) -> None:
        self.record("job_warning", {"code": code, "message": message, **data}, level="WARNING")

    def error(self, stage: str, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        """Raises ValueError for an unknown stage; ``run`` and ``score`` are known as verbs."""
        data = {"stage": Stage.of(stage), "code": code, "message": message, "details": dict(details or {})}
        self.record("job_error", data, level="ERROR")

    def complete(self, **data: Any) -> None:
        self.record("job_completed", data)

    def _open_logs(self) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        with _opened(os.open(self.workspace, flags)) as folder:
            with contextlib.suppress(FileNotFoundError):
                return os.open("logs", flags | os.O_NOFOLLOW, dir_fd=folder)
            with contextlib.suppress(FileExistsError):
                os.mkdir("logs", 0o755, dir_fd=folder)
            return os.open("logs", flags | os.O_NOFOLLOW, dir_fd=folder)


class _ServiceHandler(logging.Handler):
    """Writes the records of the ``autoscorer`` loggers to the service log."""

    def __init__(self, lines: JsonLines, *, secrets: Sequence[str], print_stacktrace: bool) -> None:
        super().__init__()
        self._lines = lines
        self._secrets = tuple(secrets)
        self._print_stacktrace = print_stacktrace

    def emit(self, record: logging.LogRecord) -> None:
        data = {
            **bound_ids(),
            **getattr(record, "data", {}),
            "process": record.process,
            "logger": record.name,
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            data["error"] = {"type": type(error).__name__, "message": str(error)}
        if error is not None and self._print_stacktrace:
            text = "".join(traceback.format_exception(error))
            data["traceback"] = mask_text(text, self._secrets)[-_MAX_TRACEBACK:].splitlines()
        line = encode_line(record.getMessage(), data, level=record.levelname, secrets=self._secrets)
        # A full disk must not end a service; there is nowhere left to say it.
        with contextlib.suppress(OSError):
            self._lines.append(line)


def configure_service_log(settings: Settings) -> str | None:
    """Send the service's events to ``LOG_DIR/autoscorer.log``. May be called again.

    Returns a warning, and logs nowhere, when LOG_DIR cannot be written.
    """
    folder = settings.log_dir
    lines = JsonLines(
        lambda: os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
        "autoscorer.log",
        max_bytes=settings.log_max_bytes,
        backups=settings.log_backups,
        retention_s=settings.log_retention_days * 86400,
    )
    handler: logging.Handler = _ServiceHandler(
        lines, secrets=settings.secrets(), print_stacktrace=settings.print_stacktrace
    )
    warning = None
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        lines.append(b"")
    except OSError as exc:
        handler = logging.NullHandler()
        warning = f"LOG_DIR: cannot be written ({exc.strerror or exc}), so there is no service log"
    _use(handler, level=settings.log_level)
    return warning


def log_event(level: str, event: str, *, error: BaseException | None = None, **data: Any) -> None:
    """One line in the service log; ``level`` is INFO, WARNING or ERROR. Goes nowhere until configured."""
    logger = logging.getLogger("autoscorer")
    if not logger.handlers:
        _use(logging.NullHandler(), level="INFO")
    logger.log(logging.getLevelNamesMapping()[level], "%s", event, exc_info=error, extra={"data": data})


def _use(handler: logging.Handler, *, level: str) -> None:
    logger = logging.getLogger("autoscorer")
    for former in list(logger.handlers):
        logger.removeHandler(former)
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False  # a command's standard error is for its user


def encode_line(event: str, data: Mapping[str, Any], *, level: str, secrets: Sequence[str]) -> bytes:
    """One line of a log, at most 256 KiB, without secrets and with nothing that could break it."""
    entry = {"timestamp": utc_now(), "level": level, "event": _text(event, secrets)}
    line = _json({**entry, "data": _plain(data, secrets, depth=0)})
    if len(line) > _MAX_LINE_BYTES:
        kept = {key: data[key] for key in _IDS if key in data}
        line = _json({**entry, "data": _plain({**kept, "dropped_bytes": len(line)}, secrets, depth=0)})
    return line


def utc_now() -> str:
    """Now, as ISO 8601 UTC with ``Z``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode() + b"\n"


def _plain(value: object, secrets: Sequence[str], *, depth: int) -> Any:
    """JSON-ready and bounded, without secrets; what JSON does not know becomes text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(value)
    if dump := getattr(value, "model_dump", None):
        value = dump(mode="json")
    elif is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in fields(value)}
    if depth == _MAX_DEPTH and isinstance(value, Mapping | list | tuple | set | frozenset):
        return "…"
    if isinstance(value, Mapping):
        entries = list(value.items())[:_MAX_ITEMS]
        return {
            _text(str(key), secrets): MASK if is_hidden(key, item) else _plain(item, secrets, depth=depth + 1)
            for key, item in entries
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, secrets, depth=depth + 1) for item in list(value)[:_MAX_ITEMS]]
    return f"{len(value)} bytes" if isinstance(value, bytes) else _text(str(value), secrets)


def _number(value: float) -> float | str:
    if isinstance(value, int):
        return value if value.bit_length() < 64 else "a huge number"
    return value if math.isfinite(value) else str(value)


def _text(text: str, secrets: Sequence[str]) -> str:
    # Masked before it is cut: half a secret is not recognised. The first cut only bounds the work.
    masked = mask_text(text[: 16 * _MAX_TEXT], secrets)
    return masked if len(masked) <= _MAX_TEXT else f"{masked[:_MAX_TEXT]}…"


@contextlib.contextmanager
def _opened(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(folder: int) -> bool:
    """Hold the folder until its descriptor is closed. False when somebody else keeps it for long.

    A line is then written all the same (an append is atomic); only rotation waits for better days.
    """
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        except OSError:  # a file system without locks
            return False
