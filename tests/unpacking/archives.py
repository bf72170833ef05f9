"""Archives by hand: what no packer writes."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Files = Mapping[str, bytes] | Sequence[tuple[str | tarfile.TarInfo, bytes]]


def tar_of(files: Files, *, packed: bool = False, form: int = tarfile.PAX_FORMAT) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as tar:
        for name, body in files.items() if isinstance(files, Mapping) else files:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return gzip.compress(content.getvalue()) if packed else content.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zip_of(files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return content.getvalue()


class Unseekable(io.BytesIO):
    """What makes `zipfile` write sizes behind the content."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_args: Any) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation


def streamed_zip_of(files: Mapping[str, bytes], *, wide: bool = False) -> bytes:
    content = Unseekable()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            with archive.open(name, "w", force_zip64=wide) as file:
                file.write(body)
    return content.getvalue()


@dataclass(kw_only=True)
class Entry:
    """A zip entry in which everything can be a lie. What is None is the truth."""

    name: bytes
    body: bytes = b""
    own_name: bytes | None = None
    flags: int = 0
    method: int = 8
    size: int | None = None
    packed_size: int | None = None
    own_size: int | None = None
    crc: int | None = None
    mode: int = 0o100644
    at: int | None = None
    rubbish: bytes = b""
    disk: int = 0


def forged_zip(
    *entries: Entry, prefix: bytes = b"", gap: bytes = b"", comment: bytes = b"", count: int | None = None
) -> bytes:
    """A zip of ``entries``; an entry with ``at`` has no content of its own, its listing points there."""
    content, listing = bytearray(prefix), bytearray()
    for entry in entries:
        packed = entry.body
        if entry.method == 8:
            packer = zlib.compressobj(9, wbits=-15)
            packed = packer.compress(entry.body) + packer.flush()
        packed += entry.rubbish
        crc = zlib.crc32(entry.body) if entry.crc is None else entry.crc
        size = len(entry.body) if entry.size is None else entry.size
        packed_size = len(packed) if entry.packed_size is None else entry.packed_size
        at = len(content) if entry.at is None else entry.at
        own_name = entry.name if entry.own_name is None else entry.own_name
        own_size = size if entry.own_size is None else entry.own_size
        if entry.at is None:
            content += struct.pack(
                "<4sHHHHHLLLHH", b"PK\3\4", 20, entry.flags, entry.method, 0, 33, crc, packed_size, own_size,
                len(own_name), 0,
            )  # fmt: skip
            content += own_name + packed
        listing += struct.pack(
            "<4sHHHHHHLLLHHHHHLL", b"PK\1\2", 3 << 8 | 20, 20, entry.flags, entry.method, 0, 33, crc,
            packed_size, size, len(entry.name), 0, 0, entry.disk, 0, entry.mode << 16, at,
        )  # fmt: skip
        listing += entry.name
    number = len(entries) if count is None else count
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, number, number, len(listing), len(content), len(comment))
    return bytes(content + listing + gap + end + comment)


def opened(folder: Path, content: bytes) -> int:
    (folder / "archive").write_bytes(content)
    return os.open(folder / "archive", os.O_RDONLY)
