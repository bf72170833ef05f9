"""Hostile bytes under a meter: how much was read, how much came out of it, how long it took."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator

from autoscorer.unpacking.tar_stream import CHUNK_BYTES, BrokenArchiveError

GZIP_MAGIC = b"\x1f\x8b"
READ_BYTES = 64 * 2**10  # small: many tiny gzip members in one piece cost quadratic time
MAX_CONTENT_BYTES = 32 * 2**30
MAX_RATIO = 200  # gzip reaches 1,000 on zeros; images reach 2 to 5
RATIO_FREE_BYTES = 2**30
MAX_SECONDS = 900.0


class Meter:
    """Raises BrokenArchiveError once more came out than ``what`` may hold, or it took too long."""

    def __init__(
        self,
        *,
        max_content_bytes: int = MAX_CONTENT_BYTES,
        ratio_free_bytes: int = RATIO_FREE_BYTES,
        max_seconds: float = MAX_SECONDS,
        what: str = "an image",
    ) -> None:
        self._what = what
        self.read_bytes = 0
        self.content_bytes = 0
        self._max_content_bytes = max_content_bytes
        self._ratio_free_bytes = ratio_free_bytes
        self._deadline = time.monotonic() + max_seconds

    def took(self, size_bytes: int) -> None:
        """That many bytes were read from the file."""
        self.read_bytes += size_bytes
        if time.monotonic() > self._deadline:
            raise BrokenArchiveError("it takes too long to unpack")

    def gave(self, size_bytes: int) -> None:
        """That many bytes came out of it, in all layers of compression."""
        self.content_bytes += size_bytes
        bomb = self.content_bytes > max(self._ratio_free_bytes, MAX_RATIO * self.read_bytes)
        if bomb or self.content_bytes > self._max_content_bytes:
            raise BrokenArchiveError(
                f"it unpacks to more than {self.content_bytes // 2**20} MiB "
                f"from {self.read_bytes // 2**20} MiB, more than {self._what} may"
            )


def inflate(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The content of a gzip stream, of one or more members, in pieces of at most 1 MiB.

    Raises BrokenArchiveError when it is damaged or ends too early.
    """
    inflater = zlib.decompressobj(wbits=31)
    for piece in pieces:
        rest, out = piece, b""
        while rest or len(out) == CHUNK_BYTES:
            if inflater.eof:
                rest = rest.lstrip(b"\0")  # padding after a member, as gzip takes it
                if not rest:
                    break
                inflater = zlib.decompressobj(wbits=31)
            try:
                out = inflater.decompress(rest, CHUNK_BYTES)
            except zlib.error as exc:
                raise BrokenArchiveError("its compression is damaged") from exc
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            if out:
                yield out
    if not inflater.eof:
        raise BrokenArchiveError("its compressed content ends too early")


def inflate_raw(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The content of one deflate stream without any frame, in pieces of at most 1 MiB.

    Raises BrokenArchiveError when it is damaged, ends too early, or something follows it.
    """
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    for piece in pieces:
        rest, out = piece, b""
        while rest or len(out) == CHUNK_BYTES:
            if inflater.eof:
                break
            try:
                out = inflater.decompress(rest, CHUNK_BYTES)
            except zlib.error as exc:
                raise BrokenArchiveError("its compression is damaged") from exc
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            if out:
                yield out
        if rest:
            raise BrokenArchiveError("something stands behind its compressed content")
    if not inflater.eof:
        raise BrokenArchiveError("its compressed content ends too early")


class PieceReader:
    """`read` over an iterator of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)
