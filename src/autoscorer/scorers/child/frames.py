"""What a scorer's process tells the platform: one frame of JSON, of bounded size, never pickle.

A frame is a length of four bytes (big-endian) and as many bytes of JSON. The scorer shares its
process with the code that writes the frame, so whoever reads one believes nothing of it.
"""

from __future__ import annotations

import json
import os
from typing import Any

HEADER_BYTES = 4
MAX_FRAME_BYTES = 8 * 2**20


def encode(value: Any) -> bytes:
    """``value`` as a frame. Raises ValueError if it is larger than `MAX_FRAME_BYTES` or no JSON."""
    content = json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
    if len(content) > MAX_FRAME_BYTES:
        raise ValueError(f"{len(content)} bytes; at most {MAX_FRAME_BYTES} are taken")
    return len(content).to_bytes(HEADER_BYTES, "big") + content


def send(descriptor: int, frame: bytes) -> None:
    """Write all of ``frame``."""
    rest = memoryview(frame)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class Inbox:
    """The first frame of a stream, and whether the stream broke the rules."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self.broken = False

    def write(self, chunk: bytes | memoryview) -> None:
        """Take in what came. A frame that is too large, or followed by anything, breaks the rules."""
        self._kept += chunk[: HEADER_BYTES + MAX_FRAME_BYTES + 1 - len(self._kept)]
        too_long = self._length > MAX_FRAME_BYTES
        followed = len(self._kept) > HEADER_BYTES + self._length and len(self._kept) > HEADER_BYTES
        self.broken = self.broken or too_long or followed

    @property
    def _length(self) -> int:
        """The frame's length as its header has it; 0 before the header is there."""
        header = self._kept[:HEADER_BYTES]
        return int.from_bytes(header, "big") if len(header) == HEADER_BYTES else 0

    @property
    def complete(self) -> bool:
        """Whether there is nothing more to wait for."""
        there = len(self._kept) >= HEADER_BYTES
        return self.broken or (there and len(self._kept) >= HEADER_BYTES + self._length)

    def content(self) -> bytes | None:
        """The frame's JSON; None if no whole frame came, or anything but one."""
        return bytes(self._kept[HEADER_BYTES:]) if self.complete and not self.broken else None
