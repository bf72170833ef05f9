"""The secrets callbacks are signed with: one for each organisation, made of the service's own."""

from __future__ import annotations

import base64
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from autoscorer.maintenance.callbacks.signing import PREFIX, secret_for
from autoscorer.utils.artifacts import atomic_writer, open_regular
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event

FILE_NAME = "callback_secret"


def secrets_of(organisation_id: str, configured: Sequence[str], data_dir: Path) -> tuple[str, ...]:
    """What an organisation's callbacks are signed with: one secret for each of `callback_secrets`.

    Raises as that.
    """
    return tuple(secret_for(organisation_id, secret) for secret in callback_secrets(configured, data_dir))


def callback_secrets(configured: Sequence[str], data_dir: Path) -> tuple[str, ...]:
    """The service's own: those ``configured``, else what `DATA_DIR/callback_secret` holds, made if absent.

    The file is for its owner's eyes only. Whoever makes it at the same time gets the same. Raises
    CONFIG_VALIDATION_ERROR when others can read it: whoever has it can forge callbacks.
    """
    if configured:
        return tuple(configured)
    path = data_dir / FILE_NAME
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        _make(path)
    return (_read(path),)


def _make(path: Path) -> None:
    made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with atomic_writer(made, mode=0o600) as file:
        file.write(f"{PREFIX}{base64.b64encode(secrets.token_bytes(32)).decode()}\n".encode())
    try:
        with suppress(FileExistsError):  # another made it first: theirs is used
            os.link(made, path)
            log_event("INFO", "callback_secret_made", path=str(path))
    finally:
        made.unlink()


def _read(path: Path) -> str:
    with os.fdopen(open_regular(path, follow_links=False), encoding="ascii", errors="replace") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            message = f"{path} can be read by others; remove it, and a new one is made"
            raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="configuration")
        return file.read(4096).strip()
