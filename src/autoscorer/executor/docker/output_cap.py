"""The folder a container writes into, and what bounds it: a file system of its own, else polling."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoscorer.confine.watch import OutputWatch
from autoscorer.executor.base import AttemptPlan, Limits
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.errors import AutoscorerError

IMAGE_NAME = "out.ext4"
BLOCK_BYTES = 4096
INODE_BYTES = 256
SPARE_INODES = 16  # ext4's own
_METADATA_BYTES = 2 * 2**20
_TOOL_TIMEOUT_S = 60
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8


class OutputFolder(ABC):
    """Made for one attempt. ``path`` has a name nobody can guess: an engine that sees it, sees ours."""

    is_capped: bool

    def __init__(self, plan: AttemptPlan) -> None:
        self._root = plan.out_dir
        self._limits = plan.limits
        self.path = plan.out_dir / secrets.token_hex(16)

    @abstractmethod
    def breach(self, *, at_end: bool = False) -> Mapping[str, Any] | None:
        """What was written, if that is more than allowed; while it runs, asked as often as one likes."""

    @abstractmethod
    def close(self) -> None:
        """Take it away with all that is in it. Safe to call twice."""

    def _make_folder(self) -> None:
        self.path.mkdir()
        # The container's user may be another one; above it the attempt's folder is ours alone.
        self.path.chmod(0o777)


class PolledOutput(OutputFolder):
    """A plain folder, measured a few times a second."""

    is_capped = False

    def __init__(self, plan: AttemptPlan) -> None:
        super().__init__(plan)
        self._root.mkdir(parents=True, exist_ok=True)
        self._make_folder()
        limits = self._limits
        self._watch = OutputWatch(self.path, max_bytes=limits.output_bytes, max_entries=limits.output_entries)

    def breach(self, *, at_end: bool = False) -> Mapping[str, Any] | None:
        written = self._watch.exceeded(now=at_end)
        if written is None:
            return None
        return {"bytes": written.size_bytes, "entries": written.entries, "depth": written.depth}

    def close(self) -> None:
        remove_tree(self.path)


class CappedOutput(OutputFolder):
    """A file system in a file: the kernel says no at the limit of bytes or of files.

    Raises AutoscorerError RESOURCE_UNAVAILABLE when the disk has no room for what the job may write,
    OSError when this machine or user cannot do it.
    """

    is_capped = True

    def __init__(self, plan: AttemptPlan) -> None:
        super().__init__(plan)
        self._image = plan.attempt_dir / IMAGE_NAME
        self._root.mkdir(parents=True, exist_ok=True)
        try:
            _make_file_system(self._image, self._limits)
            _mount(self._image, self._root)
            # The mount keeps it. Without a name it goes with the mount, however we end.
            self._image.unlink()
            self._make_folder()
        except BaseException:  # clean-up: a mount half made is taken down, interrupted or not
            self.close()
            raise
        self._used_before = _used(self._root)

    def breach(self, *, at_end: bool = False) -> Mapping[str, Any] | None:
        if not at_end:
            return None
        size_bytes, entries = (
            now - before for now, before in zip(_used(self._root), self._used_before, strict=True)
        )
        if size_bytes < self._limits.output_bytes and entries < self._limits.output_entries:
            return None
        return {"bytes": size_bytes, "entries": entries}

    def close(self) -> None:
        take_away(self._root, self._image)


def make_output(plan: AttemptPlan, *, capped: bool) -> OutputFolder:
    """With ``capped`` a file system of its own where that is possible, else a polled folder."""
    if capped:
        try:
            return CappedOutput(plan)
        except (OSError, subprocess.SubprocessError):
            pass  # no loop device, no right to mount, no mke2fs: the result says `polled`
    return PolledOutput(plan)


def take_away(mountpoint: Path, image: Path) -> bool:
    """Unmount what is mounted there, free its loop device, remove its file; whether a mount was there."""
    mounted = False
    while os.path.ismount(mountpoint):
        mounted = True
        _unmount(mountpoint)
    image.unlink(missing_ok=True)
    return mounted


def _make_file_system(image: Path, limits: Limits) -> None:
    """Its space is taken from the disk now: a full disk is our fault, and must not strike the program."""
    size_bytes = _image_bytes(limits)
    with image.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
        except OSError as exc:
            if exc.errno == errno.ENOSPC:
                raise AutoscorerError(
                    "RESOURCE_UNAVAILABLE",
                    "The disk has no room for the output that this job may write.",
                    {"needed_bytes": size_bytes, "setting": "MAX_OUTPUT_BYTES"},
                ) from exc
            raise
    options = "lazy_itable_init=1,nodiscard,no_copy_xattrs"
    inodes = limits.output_entries + SPARE_INODES
    command = [_tool("mke2fs"), "-q", "-F", "-t", "ext4", "-b", str(BLOCK_BYTES), "-N", str(inodes)]
    command += ["-m", "0", "-O", "^has_journal,^resize_inode", "-E", options, str(image)]
    _run(command)


def _image_bytes(limits: Limits) -> int:
    """Room for the output, and for what ext4 itself needs: inodes, maps, 2 % (at most 16 MiB) held back."""
    inner = limits.output_bytes + (limits.output_entries + SPARE_INODES) * INODE_BYTES
    inner += _METADATA_BYTES + inner // 1000
    total = inner + min(inner // 40, 17 * 2**20)
    return -(-total // BLOCK_BYTES) * BLOCK_BYTES


def _mount(image: Path, mountpoint: Path) -> None:
    _run([_tool("mount"), "-t", "ext4", "-o", "loop,nodev,nosuid,noatime", str(image), str(mountpoint)])


def _unmount(mountpoint: Path) -> None:
    """Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    path = os.fsencode(mountpoint)
    for flags in (_UMOUNT_NOFOLLOW, _UMOUNT_NOFOLLOW | _MNT_DETACH):
        if libc.umount2(path, flags) == 0:
            return
    raise OSError(ctypes.get_errno(), "cannot unmount the output")


def _used(mountpoint: Path) -> tuple[int, int]:
    """(bytes, files and folders) in use."""
    status = os.statvfs(mountpoint)
    return (status.f_blocks - status.f_bfree) * status.f_frsize, status.f_files - status.f_ffree


def _tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise FileNotFoundError(errno.ENOENT, f"{name} is not installed")
    return found


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=_TOOL_TIMEOUT_S, env={})
