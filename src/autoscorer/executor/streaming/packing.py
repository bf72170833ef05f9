"""The data of a job as one tar of known length: `input/` as it stands, links as links, then `meta.json`."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autoscorer.executor.streaming.scripts import LAST_MEMBER
from autoscorer.schemas.job import SpecFault, spec_error

CHUNK_BYTES = 2**18
ENCLOSED_BYTES = 48 * 2**10  # in base64 half of what one variable may hold
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)


@dataclass(frozen=True)
class _Packed:
    header: bytes
    source: Path | None
    size_bytes: int

    @property
    def length(self) -> int:
        return len(self.header) + self.size_bytes + -self.size_bytes % _BLOCK


class Package:
    """Made once and then sent: the length is told before the first byte."""

    def __init__(self, input_dir: Path, spec_path: Path) -> None:
        """Raises CONFIG_VALIDATION_ERROR for a file that we may not read."""
        self._members = [*_members(input_dir), _file(LAST_MEMBER, spec_path)]
        self.length = sum(member.length for member in self._members) + len(_END)

    def enclosed(self) -> bytes | None:
        """All of it, if it is so little that it can go with the Job itself: a connection less to wait for."""
        return b"".join(self.chunks()) if self.length <= ENCLOSED_BYTES else None

    def chunks(self) -> Iterator[bytes]:
        """The tar. A file that shrinks meanwhile is filled up, one that grows is cut: the length holds."""
        for member in self._members:
            yield member.header
            if member.source is not None:
                yield from _content(member.source, member.size_bytes)
                yield bytes(-member.size_bytes % _BLOCK)
        yield _END


def _members(input_dir: Path) -> Iterator[_Packed]:
    yield _Packed(_header("input", kind=tarfile.DIRTYPE, mode=0o755), None, 0)
    for root, folders, files in os.walk(input_dir):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]  # noqa: PTH114,PTH118
        for name in folders:
            if name not in links:
                yield _Packed(
                    _header(_named(input_dir, root, name), kind=tarfile.DIRTYPE, mode=0o755), None, 0
                )
        for name in sorted([*files, *links]):
            path, shown = Path(root, name), _named(input_dir, root, name)
            if path.is_symlink():
                header = _header(shown, kind=tarfile.SYMTYPE, mode=0o777, link=os.readlink(path))  # noqa: PTH115
                yield _Packed(header, None, 0)
            elif path.is_file():
                yield _file(shown, path)


def _named(input_dir: Path, root: str, name: str) -> str:
    return "/".join(("input", *Path(root).relative_to(input_dir).parts, name))


def _file(shown: str, path: Path) -> _Packed:
    if not os.access(path, os.R_OK):
        raise spec_error([SpecFault(shown, "cannot be read by AutoScorer")], cause="workspace")
    status = path.stat()
    mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    header = _header(shown, kind=tarfile.REGTYPE, mode=mode, size=status.st_size)
    return _Packed(header, path, status.st_size)


def _header(shown: str, *, kind: bytes, mode: int, size: int = 0, link: str = "") -> bytes:
    info = tarfile.TarInfo(shown)
    info.type, info.mode, info.size, info.linkname = kind, mode, size, link
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _content(path: Path, size: int) -> Iterator[bytes]:
    left = size
    with path.open("rb") as file:
        while left and (chunk := file.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk
    while left:
        yield bytes(min(left, CHUNK_BYTES))
        left -= min(left, CHUNK_BYTES)
