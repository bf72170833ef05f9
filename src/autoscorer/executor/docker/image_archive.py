"""An `image.tar[.gz]` that somebody delivered: inspected whole, then handed on as an archive of our own.

What the engine gets holds no byte that was not checked or made here: our names, the config we read, a
manifest without tags (`docker load` moves a tag it finds inside, whosever image had it), and layers that
must have the content the config names. That last check is ours to make: the engine takes a layer it
already has for delivered when only its name is right, and would hand out another team's.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from autoscorer.executor.docker.archive_layout import (
    ArchivedImage,
    Layer,
    blob_path,
    member_header,
    own_members,
    sha256_name,
)
from autoscorer.executor.docker.image_manifest import (
    Parts,
    find_parts,
    link_target,
    member_name,
    parse_config,
)
from autoscorer.unpacking.inflate import GZIP_MAGIC, READ_BYTES, Meter, PieceReader, inflate
from autoscorer.unpacking.tar_stream import (
    BLOCK_BYTES,
    CHUNK_BYTES,
    BrokenArchiveError,
    Kind,
    Member,
    TarStream,
)
from autoscorer.utils.artifacts import open_regular
from autoscorer.utils.errors import AutoscorerError

ARCHIVE_NAMES = ("image.tar", "image.tar.gz")
MAX_MEMBERS = 4096  # docker save writes at most five a layer
_MAX_JSON_BYTES = 4 * 2**20
_MAX_KEPT_BYTES = 32 * 2**20


@dataclass(frozen=True, kw_only=True)
class _File:
    size_bytes: int
    blob: str
    diff_id: str
    compressed: bool
    content: bytes | None


class ImageArchive:
    """One open archive file; it is read only through the descriptor it was opened by."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self.name = name

    def inspect(self, meter: Meter | None = None) -> ArchivedImage:
        """Read it to its end and check all of it. Raises IMAGE_INVALID, which says what is wrong."""
        meter = meter or Meter()
        try:
            found = _Members(meter)
            source = self._source(meter)
            stream = TarStream(source)
            for member in stream:
                found.add(member, stream)
            while source.read(CHUNK_BYTES):  # to the end, where gzip has its check sum
                pass
            parts = find_parts(list(found.files), found.json)
            return _to_image(found, parts, meter)
        except BrokenArchiveError as exc:
            self._refuse(exc)

    def stream(self, image: ArchivedImage) -> Iterator[bytes]:
        """The archive for the engine, made from ``image`` and a second reading of the layers.

        Raises IMAGE_INVALID when the file is not what it was at the first reading.
        """
        wanted = {layer.member: layer for layer in image.layers}
        yield from own_members(image)
        written: set[str] = set()
        try:
            stream = TarStream(self._source(Meter()))
            for member in stream:
                layer = wanted.pop(member_name(member.name), None)
                if layer is None:
                    continue
                if member.size_bytes != layer.size_bytes or member.kind is not Kind.FILE:
                    raise BrokenArchiveError("it was changed while it was read")
                if layer.blob not in written:
                    written.add(layer.blob)
                    yield member_header(blob_path(layer.blob), layer.size_bytes)
                    yield from stream.chunks()
                    yield bytes(-layer.size_bytes % BLOCK_BYTES)
            if wanted:
                raise BrokenArchiveError("it was changed while it was read")
        except BrokenArchiveError as exc:
            self._refuse(exc)
        yield bytes(2 * BLOCK_BYTES)

    def _source(self, meter: Meter) -> PieceReader:
        """The tar's bytes from the beginning, unpacked when they are packed, under ``meter``."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        pieces = self._pieces(meter)
        first = next(pieces, b"")
        pieces = chain((first,), pieces)
        return PieceReader(_metered(inflate(pieces) if first.startswith(GZIP_MAGIC) else pieces, meter))

    def _pieces(self, meter: Meter) -> Iterator[bytes]:
        while piece := os.read(self._descriptor, READ_BYTES):
            meter.took(len(piece))
            yield piece

    def _refuse(self, fault: BrokenArchiveError) -> NoReturn:
        raise AutoscorerError(
            "IMAGE_INVALID",
            f"{self.name}: {fault}.",
            {
                "file": self.name,
                "expected": "one image, as `docker save` writes it, plain or packed with gzip",
                "example": f"docker save NAME:TAG | gzip > {ARCHIVE_NAMES[1]}",
            },
        ) from fault


@contextmanager
def open_archive(folder: Path) -> Iterator[ImageArchive | None]:
    """The archive in ``folder``, None if there is none.

    Raises IMAGE_INVALID for a link, a pipe or the like, and where both names stand there.
    """
    present = [name for name in ARCHIVE_NAMES if os.path.lexists(folder / name)]
    if not present:
        yield None
        return
    if len(present) > 1:
        message = f"There are {' and '.join(present)}; one archive is expected."
        raise AutoscorerError("IMAGE_INVALID", message, {"offenders": present})
    try:
        descriptor = open_regular(folder / present[0], follow_links=False)
    except OSError as exc:
        message = f"{present[0]} is not a readable regular file: {exc.strerror}."
        raise AutoscorerError("IMAGE_INVALID", message, {"file": present[0]}) from exc
    try:
        yield ImageArchive(descriptor, present[0])
    finally:
        os.close(descriptor)


class _Members:
    """What the first reading keeps of an archive: names, sizes, hashes, small JSON documents, links."""

    def __init__(self, meter: Meter) -> None:
        self.files: dict[str, _File] = {}
        self._links: dict[str, str] = {}
        self._meter = meter
        self._kept_bytes = 0

    def add(self, member: Member, stream: TarStream) -> None:
        name = member_name(member.name)
        if member.kind is Kind.SPECIAL:
            raise BrokenArchiveError("it holds a device, a pipe or another special member")
        if member.kind is Kind.FOLDER:
            return
        if name in self.files or name in self._links:
            raise BrokenArchiveError(f"it holds {json.dumps(name[:80])} twice")
        if len(self.files) + len(self._links) >= MAX_MEMBERS:
            raise BrokenArchiveError(f"it holds more than {MAX_MEMBERS} members")
        if member.kind is Kind.FILE:
            self.files[name] = self._read(member, stream)
        else:
            self._links[name] = link_target(name, member.link, symbolic=member.kind is Kind.SYMLINK)

    def resolve(self, name: str) -> str:
        """The file that ``name`` is or is a link to."""
        found = self._links.get(name, name)
        if found not in self.files:
            raise BrokenArchiveError(f"it lacks {json.dumps(name[:80])}, which its manifest names")
        return found

    def json(self, name: str) -> bytes:
        content = self.files[self.resolve(name)].content
        if content is None:
            raise BrokenArchiveError(f"{json.dumps(name[:80])} is not JSON of a reasonable size")
        return content

    def _read(self, member: Member, stream: TarStream) -> _File:
        pieces = stream.chunks()
        first = next(pieces, b"")
        blob, pieces = hashlib.sha256(), chain((first,), pieces)
        if first.startswith(GZIP_MAGIC):
            unpacked = hashlib.sha256()
            for piece in _metered(inflate(_hashed(pieces, blob)), self._meter):
                unpacked.update(piece)
            return _File(
                size_bytes=member.size_bytes,
                blob=_named(blob),
                diff_id=_named(unpacked),
                compressed=True,
                content=None,
            )
        keeps = member.size_bytes <= _MAX_JSON_BYTES and first.lstrip()[:1] in (b"{", b"[")
        content = b"".join(_hashed(pieces, blob)) if keeps else None
        if content is None:
            for _ in _hashed(pieces, blob):
                pass
        self._kept_bytes += len(content or b"")
        if self._kept_bytes > _MAX_KEPT_BYTES:
            raise BrokenArchiveError("it holds too much JSON")
        return _File(
            size_bytes=member.size_bytes,
            blob=_named(blob),
            diff_id=_named(blob),
            compressed=False,
            content=content,
        )


def _to_image(found: _Members, parts: Parts, meter: Meter) -> ArchivedImage:
    for name, digest in parts.digests.items():
        if found.files[found.resolve(name)].blob != digest:
            raise BrokenArchiveError("a part's content does not have the SHA-256 that names it")
    config = found.json(parts.config)
    facts = parse_config(config)
    names = [found.resolve(name) for name in parts.layers]
    if tuple(found.files[name].diff_id for name in names) != facts.diff_ids:
        raise BrokenArchiveError("its layers are not those the image's config names (plain or gzip)")
    files = [(name, found.files[name]) for name in names]
    layers = tuple(
        Layer(member=name, size_bytes=file.size_bytes, blob=file.blob, compressed=file.compressed)
        for name, file in files
    )
    return ArchivedImage(
        image_id=sha256_name(config),
        config=config,
        facts=facts,
        layers=layers,
        tags=parts.tags,
        content_bytes=meter.content_bytes,
    )


def _metered(pieces: Iterator[bytes], meter: Meter) -> Iterator[bytes]:
    for piece in pieces:
        meter.gave(len(piece))
        yield piece


def _hashed(pieces: Iterator[bytes], digest: Any) -> Iterator[bytes]:
    for piece in pieces:
        digest.update(piece)
        yield piece


def _named(digest: Any) -> str:
    return f"sha256:{digest.hexdigest()}"
