"""A hostile zip: its listing read whole and checked against every member, its content in bounded memory.

Not by `zipfile`: it reads a listing of any size into memory, and believes it where members contradict it.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from autoscorer.unpacking.inflate import READ_BYTES, inflate_raw
from autoscorer.unpacking.names import RefusedMemberError
from autoscorer.unpacking.tar_stream import BrokenArchiveError, Kind

ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_CENTRAL = struct.Struct("<4sHHHHHHLLLHHHHHLL")
_END = struct.Struct("<4sHHHHLLH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQHHLLQQLL")
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_PATCHED = 0x0020
_DESCRIBED = 0x0008  # sizes and check sum stand behind the content
_MOST_DESCRIBED_BYTES = 24
_STORED, _DEFLATED = 0, 8
_ZIP64 = 1
_UNIX = 3
_KINDS = {0: Kind.FILE, stat.S_IFREG: Kind.FILE, stat.S_IFLNK: Kind.SYMLINK}


@dataclass(frozen=True, kw_only=True)
class ZipMember:
    """One entry, its listing and its own header agreeing. ``start`` and ``end`` bound its packed content."""

    name: str
    kind: Kind
    header: int
    start: int
    end: int
    size_bytes: int
    crc: int
    deflated: bool


class ZipListing:
    """The members of the zip that is open as ``descriptor``, in the order of their content.

    Raises BrokenArchiveError, RefusedMemberError: it is no zip, or one that readers could take in two ways.
    """

    def __init__(self, descriptor: int, *, max_members: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        count, start, end = self._find_listing()
        if count > max_members:
            raise BrokenArchiveError(f"it holds more than {max_members} members")
        members = sorted(self._members(count, start, end), key=lambda member: member.header)
        _check_apart(members, start)
        self.members = tuple(members)

    def content(self, member: ZipMember) -> Iterator[bytes]:
        """What ``member`` holds. Raises RefusedMemberError in the end if that is not what was promised."""
        crc, size = 0, 0
        packed = self._packed(member)
        try:
            for piece in inflate_raw(packed) if member.deflated else packed:
                crc, size = zlib.crc32(piece, crc), size + len(piece)
                if size > member.size_bytes:
                    break
                yield piece
        except BrokenArchiveError as exc:
            raise RefusedMemberError(member.name, f"cannot be unpacked: {exc}") from exc
        if size != member.size_bytes:
            raise RefusedMemberError(member.name, "does not have the size that the archive says")
        if crc != member.crc:
            raise RefusedMemberError(member.name, "does not have the check sum that the archive says")

    def _packed(self, member: ZipMember) -> Iterator[bytes]:
        at = member.start
        while at < member.end:
            piece = os.pread(self._descriptor, min(READ_BYTES, member.end - at), at)
            if not piece:
                raise BrokenArchiveError("it ends too early")
            at += len(piece)
            yield piece

    def _read(self, size: int, at: int) -> bytes:
        content = os.pread(self._descriptor, size, at) if 0 <= at <= self._size else b""
        if len(content) != size:
            raise BrokenArchiveError("it points to something outside itself")
        return content

    def _find_listing(self) -> tuple[int, int, int]:
        """The number of members, and where their listing begins and ends: right before the end record."""
        at = self._find_end()
        record = _END.unpack(self._read(_END.size, at))
        _, disk, first_disk, here, count, size, start, _ = record
        if at >= _END64_LOCATOR.size:
            signature, _, at64, _ = _END64_LOCATOR.unpack(
                self._read(_END64_LOCATOR.size, at - _END64_LOCATOR.size)
            )
            if signature == b"PK\x06\x07":
                record = _END64.unpack(self._read(_END64.size, at64))
                signature, length, _, _, disk, first_disk, here, count, size, start = record
                if signature != b"PK\x06\x06" or at64 + 12 + length + _END64_LOCATOR.size != at:
                    raise BrokenArchiveError("its end record is damaged")
                at = at64
        if (disk, first_disk, here) != (0, 0, count):
            raise BrokenArchiveError("it is one part of several")
        if start + size != at:
            raise BrokenArchiveError("something stands between its listing and its end, or before it begins")
        return count, start, at

    def _find_end(self) -> int:
        """Where the end record stands: the last one whose comment ends with the file."""
        tail_at = max(0, self._size - _END.size - _FULL16)
        tail = self._read(self._size - tail_at, tail_at)
        found = tail.rfind(b"PK\x05\x06")
        if found >= 0 and len(tail) - found >= _END.size:
            comment = _END.unpack_from(tail, found)[-1]
            if found + _END.size + comment == len(tail):
                return tail_at + found
        raise BrokenArchiveError("it is no zip, is cut off, or something is appended to it")

    def _members(self, count: int, at: int, end: int) -> Iterator[ZipMember]:
        for _ in range(count):
            member, at = self._member(at)
            yield member
        if at != end:
            raise BrokenArchiveError("its listing has another length than it says")

    def _member(self, at: int) -> tuple[ZipMember, int]:
        """The member that is listed at ``at``, and where the next one is."""
        row = _CENTRAL.unpack(self._read(_CENTRAL.size, at))
        signature, made_by, _, flags, method, _, _, crc, packed, size, *lengths, disk, _, mode, header = row
        if signature != b"PK\x01\x02" or disk:
            raise BrokenArchiveError("its listing is damaged")
        at += _CENTRAL.size
        raw_name, extra = self._read(lengths[0], at), self._read(lengths[1], at + lengths[0])
        name = _text(raw_name)
        size, packed, header = _wide(extra, size, packed, header)
        if flags & (_ENCRYPTED | _PATCHED):
            raise RefusedMemberError(name, "is encrypted")
        if method not in (_STORED, _DEFLATED):
            raise RefusedMemberError(name, "is packed by another method than deflate")
        promised = (crc, packed, size)
        start = self._check_header(name, raw_name, header, flags=flags, method=method, promised=promised)
        is_unix = made_by >> 8 == _UNIX
        member = ZipMember(
            name=name,
            kind=_kind(name, mode >> 16 if is_unix else 0, size),
            header=header,
            start=start,
            end=start + packed,
            size_bytes=size,
            crc=crc,
            deflated=method == _DEFLATED,
        )
        return member, at + sum(lengths)

    def _check_header(
        self, name: str, raw_name: bytes, at: int, *, flags: int, method: int, promised: tuple[int, int, int]
    ) -> int:
        """Where the member's content begins; its own header must say what the listing says."""
        row = _LOCAL.unpack(self._read(_LOCAL.size, at))
        signature, _, own_flags, own_method, _, _, crc, packed, size, *lengths = row
        name_length, extra_length = int(lengths[0]), int(lengths[1])
        at += _LOCAL.size
        own_name, extra = self._read(name_length, at), self._read(extra_length, at + name_length)
        size, packed, _ = _wide(extra, size, packed, 0)
        # Where they stand behind the content, the header has nothing, or the same.
        told = {(crc, packed, size), promised if own_flags & _DESCRIBED else (crc, packed, size)}
        same = (signature, own_flags, own_method, own_name) == (b"PK\x03\x04", flags, method, raw_name)
        if not same or promised not in told:
            raise RefusedMemberError(name, "is not what the archive's listing says of it")
        return at + name_length + extra_length


def _check_apart(members: list[ZipMember], listing: int) -> None:
    """Raise unless the members stand one behind the other, and nothing before them."""
    if members and members[0].header != 0:
        raise BrokenArchiveError("something stands before its first member")
    for one, other in pairwise(members):
        if one.end > other.header:
            raise RefusedMemberError(other.name, "shares its content with another member")
    if members and not members[-1].end <= listing <= members[-1].end + _MOST_DESCRIBED_BYTES:
        raise BrokenArchiveError("its listing does not stand right behind its members")


def _wide(extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """The numbers, those that need more than 32 bits taken from the zip64 field."""
    at, wide = 0, b""
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == _ZIP64:
            wide = extra[at + 4 : at + 4 + length]
        at += 4 + length
    numbers = [size, packed, header]
    for place, number in enumerate(numbers):
        if number == _FULL32 and wide:
            if len(wide) < 8:
                raise BrokenArchiveError("a member's header is damaged")
            numbers[place], wide = int.from_bytes(wide[:8], "little"), wide[8:]
    if any(number >= 2**63 for number in numbers):
        raise BrokenArchiveError("a member has an impossible size")
    return numbers[0], numbers[1], numbers[2]


def _kind(name: str, mode: int, size: int) -> Kind:
    if name.endswith("/"):
        return Kind.FOLDER if size == 0 and stat.S_IFMT(mode) in (0, stat.S_IFDIR) else Kind.SPECIAL
    return _KINDS.get(stat.S_IFMT(mode), Kind.SPECIAL)


def _text(name: bytes) -> str:
    # Flag or not: what is no UTF-8 is some code page, and nobody says which.
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise RefusedMemberError(
            name.decode("utf-8", "backslashreplace"), "has a name that is not UTF-8"
        ) from None
    if not text:
        raise BrokenArchiveError("a member has no name")
    return text
