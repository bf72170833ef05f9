"""A folder as an archive, packed on the disk, nothing in it but plain files and folders."""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from autoscorer.utils.errors import AutoscorerError

TYPES = {
    ".tar": "application/x-tar",
    ".gz": "application/gzip",
    ".tgz": "application/gzip",
    ".zip": "application/zip",
}
_CHUNK_BYTES = 2**20
_OURS = (".attempts", ".autoscorer.lock", "logs")  # what runs leave in a workspace
_RESULTS = ("output/result.json", "output/artifacts")


@contextmanager
def opened_archive(source: Path) -> Iterator[tuple[IO[bytes], str]]:
    """An archive's file and media type: ``source`` itself, or what is in that folder.

    Of a folder plain files and folders are packed, with no owner and no link; what runs left is not.
    Raises ARCHIVE_INVALID for a link or device in the folder, and for what is no archive.
    """
    if source.is_dir():
        with tempfile.TemporaryFile() as packed:
            with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
                _pack(archive, source)
            packed.seek(0)
            yield packed, TYPES[".gz"]
        return
    kind = TYPES.get(source.suffix.lower())
    if kind is None:
        raise _invalid(f"{source} is no folder and no {', '.join(TYPES)} file")
    try:
        file = source.open("rb")
    except OSError as exc:
        raise _invalid(f"{source} cannot be read ({exc.strerror})") from exc
    with file:
        yield file, kind


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """What is left of ``file``, piece by piece."""
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _pack(archive: tarfile.TarFile, root: Path) -> None:
    waiting = [root]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in sorted(entries, key=lambda found: found.name):
                path = Path(entry.path)
                name = path.relative_to(root).as_posix()
                if name.startswith(_OURS[:2]) or name in (_OURS[2], *_RESULTS):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif not entry.is_file(follow_symlinks=False):
                    raise _invalid(f"{path} is no plain file; copy what it leads to in its place")
                archive.add(path, name, recursive=False, filter=_nobodys)


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _invalid(message: str) -> AutoscorerError:
    return AutoscorerError("ARCHIVE_INVALID", message)
