"""An archive that somebody delivered becomes a folder: plain files with plain names, or nothing at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from autoscorer.unpacking.inflate import GZIP_MAGIC, READ_BYTES, Meter, PieceReader, inflate
from autoscorer.unpacking.names import Names, Parts, RefusedMemberError, plain_parts
from autoscorer.unpacking.tar_stream import CHUNK_BYTES, BrokenArchiveError, Kind, TarStream
from autoscorer.unpacking.zip_listing import ZIP_MAGICS, ZipListing
from autoscorer.utils.errors import AutoscorerError

RATIO_FREE_BYTES = 64 * 2**20
_SPECIAL = {
    Kind.SYMLINK: "is a symbolic link",
    Kind.HARDLINK: "is a hard link",
    Kind.SPECIAL: "is a device, a pipe or the like",
}


def _all_may_come(_parts: Parts) -> str | None:
    return None


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What an archive may hold: bytes unpacked, and files and folders together.

    ``refusal`` says of a path why it may not come, None if it may.
    """

    max_bytes: int
    max_entries: int
    refusal: Callable[[Parts], str | None] = _all_may_come


@dataclass
class Unpacked:
    """What came out of an archive."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class _Member:
    name: str
    kind: Kind
    size_bytes: int
    content: Iterable[bytes]


def unpack(
    descriptor: int, target: Path, rules: Rules, *, check_room: Callable[[int], None] = lambda _bytes: None
) -> Unpacked:
    """Unpack the tar, tar.gz or zip that is open as ``descriptor`` into the empty folder ``target``.

    ``check_room`` hears how many bytes come next, before they are written, and may raise. Raises
    ARCHIVE_INVALID, which names the member; then what came before it is in ``target``, to be thrown away.
    """
    taken, names = Unpacked(), Names()
    try:
        for number, member in enumerate(_members(descriptor, rules)):
            _check_count(number + 1, rules)
            _take(member, target, rules, names=names, taken=taken, check_room=check_room)
    except RefusedMemberError as exc:
        raise _invalid(str(exc), {"member": exc.member}) from exc
    except BrokenArchiveError as exc:
        raise _invalid(str(exc), {}) from exc
    return taken


def _take(
    member: _Member,
    target: Path,
    rules: Rules,
    *,
    names: Names,
    taken: Unpacked,
    check_room: Callable[[int], None],
) -> None:
    if member.kind in _SPECIAL:
        raise RefusedMemberError(
            member.name, f"{_SPECIAL[member.kind]}; only plain files and folders are taken"
        )
    parts = plain_parts(member.name)
    if not parts:
        if member.kind is Kind.FOLDER:
            return
        raise RefusedMemberError(member.name, "is no name of a file")
    refusal = rules.refusal(parts)
    if refusal is not None:
        raise RefusedMemberError(member.name, refusal)
    folders = names.add(member.name, parts, is_file=member.kind is Kind.FILE)
    _check_count(len(names), rules)
    for folder in folders:
        target.joinpath(*folder).mkdir(mode=0o755)
    if member.kind is Kind.FILE:
        if taken.bytes + member.size_bytes > rules.max_bytes:
            raise RefusedMemberError(member.name, f"would make it more than {rules.max_bytes} bytes unpacked")
        check_room(member.size_bytes)
        taken.bytes += _write(target.joinpath(*parts), member)
        taken.files += 1


def _check_count(count: int, rules: Rules) -> None:
    if count > rules.max_entries:
        raise BrokenArchiveError(f"it holds more than {rules.max_entries} files and folders")


def _write(path: Path, member: _Member) -> int:
    written = 0
    with path.open("xb") as file:
        for piece in member.content:
            written += len(piece)
            file.write(piece)
    return written


def _members(descriptor: int, rules: Rules) -> Iterator[_Member]:
    meter = Meter(max_content_bytes=_most_content(rules), ratio_free_bytes=RATIO_FREE_BYTES, what="it")
    first = os.pread(descriptor, READ_BYTES, 0)
    if first.startswith(ZIP_MAGICS):
        return _zip_members(descriptor, rules, meter)
    return _tar_members(descriptor, meter, is_packed=first.startswith(GZIP_MAGIC))


def _most_content(rules: Rules) -> int:
    """A tar has a header for each member, and padding."""
    return rules.max_bytes + 2048 * rules.max_entries + 2**20


def _tar_members(descriptor: int, meter: Meter, *, is_packed: bool) -> Iterator[_Member]:
    pieces = _pieces(descriptor, meter)
    source = PieceReader(_metered(inflate(pieces) if is_packed else pieces, meter))
    stream = TarStream(source)
    for member in stream:
        yield _Member(
            name=member.name, kind=member.kind, size_bytes=member.size_bytes, content=stream.chunks()
        )
    if not stream.ended_by_mark:
        raise BrokenArchiveError("it is empty, or cut off before its end")
    while rest := source.read(CHUNK_BYTES):
        if rest.strip(b"\0"):
            raise BrokenArchiveError("something is appended to it")


def _zip_members(descriptor: int, rules: Rules, meter: Meter) -> Iterator[_Member]:
    listing = ZipListing(descriptor, max_members=rules.max_entries)
    meter.took(os.fstat(descriptor).st_size)
    for member in listing.members:
        content = _metered(listing.content(member), meter) if member.kind is Kind.FILE else iter(())
        yield _Member(name=member.name, kind=member.kind, size_bytes=member.size_bytes, content=content)


def _pieces(descriptor: int, meter: Meter) -> Iterator[bytes]:
    at = 0
    while piece := os.pread(descriptor, READ_BYTES, at):
        at += len(piece)
        meter.took(len(piece))
        yield piece


def _metered(pieces: Iterator[bytes], meter: Meter) -> Iterator[bytes]:
    for piece in pieces:
        meter.gave(len(piece))
        yield piece


def _invalid(message: str, details: dict[str, str]) -> AutoscorerError:
    return AutoscorerError("ARCHIVE_INVALID", f"The archive is refused: {message}.", details)
