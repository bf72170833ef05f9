"""A hostile tar, member by member, in bounded memory.

Not by `tarfile`: it reads a pax header of any size into memory, and recurses over a row of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

BLOCK_BYTES = 512
CHUNK_BYTES = 2**20
_MAX_EXTENSION_BYTES = 64 * 2**10
_MAX_NAME_BYTES = 4096
_NUMBER = re.compile(rb"[0-7]*")
_PAX_RECORD = re.compile(rb"([0-9]{1,6}) ([^=]{1,256})=")


class BrokenArchiveError(ValueError):
    """The archive is not one we read; the text says what is wrong with it."""


class CutOffError(BrokenArchiveError):
    """The archive is one we read as far as it goes, and it ends too early."""


class Kind(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    SPECIAL = "special"


_KINDS = {b"0": Kind.FILE, b"\0": Kind.FILE, b"1": Kind.HARDLINK, b"2": Kind.SYMLINK, b"5": Kind.FOLDER}


@dataclass(frozen=True, kw_only=True)
class Member:
    """One entry. ``name`` and ``link`` as they stand in the archive, not yet judged; so is ``mode``.

    ``SPECIAL`` is a device, a pipe or anything else that nobody should deliver.
    """

    name: str
    kind: Kind
    size_bytes: int
    link: str
    mode: int = 0o644


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class TarStream:
    """Members in order; `chunks` reads the present one's content, what is left of it is skipped.

    Raises BrokenArchiveError, and whatever ``source.read`` raises.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._left = 0  # of the present member's content
        self._padding = 0
        self.ended_by_mark = False  # a block of zeros; else the bytes just stopped

    def __iter__(self) -> Iterator[Member]:
        extension: dict[str, bytes] = {}
        while (header := self._next_header()) is not None:
            kind, size = header[156:157], _number(header[124:136])
            if kind in (b"x", b"g", b"L", b"K"):
                content = self._extension(size)
                if kind == b"x":
                    extension |= _pax_records(content)
                elif kind in (b"L", b"K"):
                    extension["path" if kind == b"L" else "linkpath"] = content.rstrip(b"\0")
                continue
            yield self._member(header, extension)
            extension = {}
            for _ in self.chunks():
                pass
            self._exactly(self._padding)

    def chunks(self) -> Iterator[bytes]:
        """The content of the present member from where reading stopped."""
        while self._left:
            piece = self._source.read(min(self._left, CHUNK_BYTES))
            if not piece:
                raise CutOffError("it ends in the middle of a member")
            self._left -= len(piece)
            yield piece

    def _member(self, header: bytes, extension: dict[str, bytes]) -> Member:
        kind = _KINDS.get(header[156:157], Kind.SPECIAL)
        size = _number(header[124:136]) if "size" not in extension else _decimal(extension["size"])
        size = size if kind is Kind.FILE else 0
        self._left, self._padding = size, -size % BLOCK_BYTES
        name = header[:100].split(b"\0")[0]
        if (
            header[257:262] == b"ustar"
            and header[263:265] == b"00"
            and (prefix := header[345:500].split(b"\0")[0])
        ):
            name = prefix + b"/" + name
        link = extension.get("linkpath", header[157:257].split(b"\0")[0])
        return Member(
            name=_text(extension.get("path", name)),
            kind=kind,
            size_bytes=size,
            link=_text(link),
            mode=_number(header[100:108]),
        )

    def _next_header(self) -> bytes | None:
        """The next header; None at the end: a block of zeros, or no more bytes."""
        header = self._source.read(BLOCK_BYTES)
        header += self._exactly(-len(header) % BLOCK_BYTES) if header else b""
        if not header.strip(b"\0"):
            self.ended_by_mark = bool(header)
            return None
        plain_sum = sum(header) - sum(header[148:156]) + 8 * ord(" ")
        if _number(header[148:156]) != plain_sum:
            raise BrokenArchiveError("it is no tar, or a header is damaged")
        return header

    def _extension(self, size: int) -> bytes:
        if size > _MAX_EXTENSION_BYTES:
            raise BrokenArchiveError("a member's header is too long")
        content = self._exactly(size)
        self._exactly(-size % BLOCK_BYTES)
        return content

    def _exactly(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            piece = self._source.read(size - len(content))
            if not piece:
                raise CutOffError("it ends in the middle of a member")
            content += piece
        return content


def _number(field: bytes) -> int:
    """A number field: octal text, or binary when its first bit is set."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:])
        if field[0] & 0x40 or value >= 2**63:
            raise BrokenArchiveError("a member has an impossible size")
        return value
    text = field.split(b"\0")[0].strip(b" ")
    if not _NUMBER.fullmatch(text):
        raise BrokenArchiveError("it is no tar, or a header is damaged")
    return int(text or b"0", 8)


def _decimal(text: bytes) -> int:
    if not re.fullmatch(rb"[0-9]{1,18}", text):
        raise BrokenArchiveError("a member has an impossible size")
    return int(text)


def _pax_records(content: bytes) -> dict[str, bytes]:
    """Path, link and size out of ``<length> <key>=<value>\\n`` records; a sparse file is a fault."""
    found: dict[str, bytes] = {}
    at = 0
    while at < len(content):
        record = _PAX_RECORD.match(content, at)
        end = at + int(record[1]) if record else 0
        if record is None or end <= record.end() or end > len(content) or content[end - 1 : end] != b"\n":
            raise BrokenArchiveError("a member's pax header is damaged")
        key = record[2]
        if key.startswith(b"GNU.sparse"):
            raise BrokenArchiveError("it holds a sparse file")
        if key in (b"path", b"linkpath", b"size"):
            found[key.decode()] = content[record.end() : end - 1]
        at = end
    return found


def _text(name: bytes) -> str:
    if len(name) > _MAX_NAME_BYTES or b"\0" in name:
        raise BrokenArchiveError("a member's name is too long or holds NUL")
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise BrokenArchiveError("a member's name is not UTF-8") from None
