"""An uploaded archive becomes a workspace: received and unpacked in a hidden folder, put in place whole."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self
from uuid import uuid4

from autoscorer import staging
from autoscorer.harvest import RESERVED
from autoscorer.intake.copies import IMAGES, make_workspace
from autoscorer.intake.room import check_room, size_of
from autoscorer.intake.specs import at_home, merged, stored_spec
from autoscorer.locking import LOCK_NAME
from autoscorer.unpacking.names import Parts
from autoscorer.unpacking.unpack import Rules, Unpacked, unpack
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.closing import Closing
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError, disk_full
from autoscorer.workspace import Workspace

_PART = ".part"
_ABANDONED_AFTER_S = 3600.0
_LOOK_EVERY_BYTES = 16 * 2**20
_OURS = (".attempts", "logs")
_KINDS: Mapping[str, Callable[[Path], bool]] = {
    **dict.fromkeys(("input", "reference", "output"), Path.is_dir),
    **dict.fromkeys(("meta.json", "image.tar", "image.tar.gz"), Path.is_file),
}


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """The new workspace's folder and what came out of the archive."""

    path: Path
    unpacked: Unpacked


class Upload(Closing):
    """One archive on its way into ``below``, as a context: whatever has not become a workspace is removed.

    Raises RESOURCE_UNAVAILABLE (disk) before the disk has less room than MIN_FREE_DISK.
    """

    def __init__(self, below: Path, settings: Settings) -> None:
        self._below, self._settings = below, settings
        self._name = str(uuid4())
        self._part = below / f".{self._name}{_PART}"
        self._lock: int | None = None
        self._archive: BinaryIO | None = None
        self._unseen_bytes = 0

    def __enter__(self) -> Self:
        try:
            self._below.mkdir(mode=0o755, parents=True, exist_ok=True)
            sweep(self._below)
            self._check_room(0)
            self._part.mkdir(mode=0o700)
            self._lock = os.open(self._part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._archive = (self._part / "archive").open("xb+", buffering=0)
        except OSError as exc:
            self.close()
            raise disk_full(exc) or exc from exc
        except BaseException:  # clean-up: nothing of it stays
            self.close()
            raise
        return self

    def write(self, piece: bytes) -> None:
        """Take the next bytes of the archive."""
        assert self._archive is not None
        self._unseen_bytes += len(piece)
        if self._unseen_bytes >= _LOOK_EVERY_BYTES:
            self._check_room(len(piece))
            self._unseen_bytes = 0
        try:
            rest = memoryview(piece)
            while rest:
                rest = rest[self._archive.write(rest) :]
        except OSError as exc:
            raise disk_full(exc) or exc from exc

    def finish(self, rules: Rules, *, base: Path | None, root: Path) -> Uploaded:
        """Unpack it, add what comes from ``base``, put it in place.

        Raises ARCHIVE_INVALID, CONFIG_VALIDATION_ERROR for a base that cannot be copied or a faulty
        `meta.json`.
        """
        assert self._archive is not None
        own = self._part / "own"
        try:
            own.mkdir(mode=0o755)
            unpacked = unpack(self._archive.fileno(), own, rules, check_room=self._check_room)
            _check_top(own)
            whole = own if base is None else self._with_base(own, base, root)
            Workspace(whole).load_spec()
            return Uploaded(path=whole.rename(self._below / self._name), unpacked=unpacked)
        except OSError as exc:
            raise disk_full(exc) or exc from exc

    def close(self) -> None:
        """Remove what is left of it. Safe to call twice."""
        if self._archive is not None:
            self._archive.close()
        with suppress(OSError):
            remove_tree(self._part)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _with_base(self, own: Path, base: Path, root: Path) -> Path:
        """The base's input, reference and specification, under a label of its own, and what was delivered."""
        workspace = Workspace(base)
        spec = workspace.load_spec()
        shown = staging.input_dir(workspace, spec, shared_root=self._settings.workspace_root)
        label = at_home(merged(spec, workspace.raw_spec(), {}), spec)
        self._check_room(size_of(shown) + size_of(workspace.reference_dir))
        made = make_workspace(
            self._part, stored_spec(label), shown=shown, reference=workspace.reference_dir, root=root
        )
        made.chmod(0o755)
        for path in list(own.iterdir()):
            target = made / path.name
            if target.is_dir():
                target.rmdir()  # the empty output/ of a new workspace
            path.rename(target)
        return made

    def _check_room(self, more: int) -> None:
        check_room(self._below, self._settings, more)


def upload_rules(settings: Settings, *, has_base: bool) -> Rules:
    """What an archive may hold: with a base what a submission is, else all but what is the platform's."""

    def refusal(parts: Parts) -> str | None:
        if parts[0] in _OURS or parts[0].startswith(LOCK_NAME) or _is_result(parts):
            return "has a name that is the platform's; leave it out"
        if has_base and parts[0] != "output" and (parts[0] not in IMAGES or len(parts) > 1):
            return "may not come with a base: only output/ and image.tar or image.tar.gz may"
        return None

    return Rules(max_bytes=settings.upload_max_bytes, max_entries=settings.upload_max_files, refusal=refusal)


def sweep(below: Path) -> None:
    """Remove what uploads that died have left in ``below``: old, and held by nobody."""
    for part in below.glob(f".*{_PART}"):
        with suppress(OSError):
            if time.time() - part.lstat().st_mtime < _ABANDONED_AFTER_S:
                continue
            descriptor = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(part)
            finally:
                os.close(descriptor)


def _is_result(parts: Parts) -> bool:
    """`output/result.json` and `output/artifacts`, and a `result.json` in any other place but data's."""
    if parts[0] == "output" and len(parts) > 1:
        return parts[1] in RESERVED
    return parts[-1] == "result.json" and parts[0] not in ("input", "reference", "output")


def _check_top(whole: Path) -> None:
    """Raise ARCHIVE_INVALID for a folder packed with its own name around it, or a file in place of one."""
    for name, is_right in _KINDS.items():
        if (whole / name).exists() and not is_right(whole / name):
            message = f"The archive is refused: {name!r} is a file, or a folder, and should be the other."
            raise AutoscorerError("ARCHIVE_INVALID", message, {"member": name})
    entries = list(whole.iterdir())
    if len(entries) == 1 and (entries[0] / "meta.json").exists():
        message = (
            f"The archive is refused: the workspace lies in the folder {entries[0].name!r}; "
            "pack what is in the folder: tar -C FOLDER -czf workspace.tar.gz ."
        )
        raise AutoscorerError("ARCHIVE_INVALID", message, {"member": entries[0].name})
