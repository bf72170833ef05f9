"""Which part of a file a request asks for, as RFC 9110 (section 14) has it. Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.ASCII | re.IGNORECASE)


class UnsatisfiableError(ValueError):
    """The range asked for lies outside the file."""


@dataclass(frozen=True)
class Part:
    """The bytes from ``start`` up to, not with, ``end``."""

    start: int
    end: int

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.end - 1}/{size}"


def wanted_part(*, size: int, etag: str, asked: str | None, if_range: str | None) -> Part | None:
    """The part of a file of ``size`` bytes to answer with; None is all of it.

    What cannot be read, and several ranges in one, is passed over, as the standard allows; so is a range
    ``if_range`` another content than that of ``etag``. Raises UnsatisfiableError.
    """
    if asked is None or (if_range is not None and if_range.strip() != etag):
        return None
    found = _ONE_RANGE.fullmatch(asked.strip())
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size or start >= end:
        raise UnsatisfiableError
    return Part(start, end)


def is_unchanged(etag: str, if_none_match: str | None) -> bool:
    """Whether the asker has this content already."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags
