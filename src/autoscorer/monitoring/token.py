"""The token that `/metrics` wants: METRICS_TOKEN, else one that is made in DATA_DIR."""

from __future__ import annotations

import fcntl
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoscorer.utils.artifacts import atomic_writer, open_regular
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError

FILE = "metrics.token"
_SHORTEST = 16


def metrics_token(settings: Settings) -> str:
    """The token. Processes that make one at once agree on one; a file that others can read is made anew.

    Raises CONFIG_VALIDATION_ERROR when there is none and DATA_DIR cannot be written.
    """
    if settings.metrics_token is not None:
        return settings.metrics_token
    path = settings.data_dir / FILE
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(settings.data_dir):
            return _kept(path) or _made(path)
    except OSError as exc:
        message = f"{path} cannot be used ({exc.strerror or exc}); set METRICS_TOKEN, or mend DATA_DIR"
        raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="configuration") from exc


def is_metrics_token(given: str, token: str) -> bool:
    """Whether they are the same, in a time that says nothing of how much of it is."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def bearer(header: str) -> str:
    """The token in an ``Authorization`` header; empty for any other."""
    kind, _, token = header.strip().partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _kept(path: Path) -> str | None:
    """The token in the file; None if there is none, or others than its owner could have read it."""
    try:
        descriptor = open_regular(path, follow_links=False)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
        status, token = os.fstat(descriptor), file.read(256).strip()
    is_ours = status.st_uid == os.geteuid() and not status.st_mode & 0o077
    return token if is_ours and len(token) >= _SHORTEST else None


def _made(path: Path) -> str:
    token = secrets.token_urlsafe(32)
    with atomic_writer(path, mode=0o600) as file:
        file.write(f"{token}\n".encode("ascii"))
    return token


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the kernel's lock on the folder goes with whoever holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
