"""Delivered bytes to text: UTF-8 or a named fault."""

from __future__ import annotations

from typing import Any

from autoscorer.reading.source import Source
from autoscorer.utils.errors import AutoscorerError

BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
SHOWN_OFFENDERS = 5
SHOWN_CHARACTERS = 60


def shown(text: str) -> str:
    """``text`` as a message may show it: quoted, escaped, cut to a reasonable length."""
    quoted = ascii(text) if not text.isprintable() else repr(text)
    return quoted if len(quoted) <= SHOWN_CHARACTERS else quoted[: SHOWN_CHARACTERS - 1] + "…"


def decode_text(content: bytes, source: Source, *, example: str) -> str:
    """The text of a delivered file without its byte order mark.

    Raises AutoscorerError PARSE_ERROR with the line for UTF-16, NUL, an HTML page and invalid UTF-8,
    BAD_FORMAT for an empty file.
    """
    if not content.removeprefix(BOM).strip():
        details = {"expected": "content", "example": example}
        raise source.fault("BAD_FORMAT", f"{source.name} is empty", details)
    expected: dict[str, Any] = {"expected": "plain UTF-8 text", "example": example}
    if content.startswith(UTF16_BOMS) or _looks_like_utf16(content):
        message = f"{source.name} is UTF-16: save it as UTF-8"
        raise source.fault("PARSE_ERROR", message, {"line": 1} | expected)
    if content[:512].removeprefix(BOM).lstrip()[:1] == b"<":
        raise source.fault(
            "PARSE_ERROR", f"{source.name} is an HTML or XML page, not data", {"line": 1} | expected
        )
    nul = content.find(b"\0")
    if nul >= 0:
        raise byte_fault(content, source, nul, "a NUL byte", expected)
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as exc:
        raise byte_fault(content, source, exc.start, "a byte that is not UTF-8", expected) from exc


def byte_fault(
    content: bytes, source: Source, position: int, what: str, details: dict[str, Any]
) -> AutoscorerError:
    """The PARSE_ERROR for the byte at ``position`` (from 0), named by its line (from 1)."""
    line = content.count(b"\n", 0, position) + 1
    message = f"{source.name}, line {line}: {what} (0x{content[position]:02x})"
    return source.fault("PARSE_ERROR", message, {"line": line} | details)


def _looks_like_utf16(content: bytes) -> bool:
    """Every other byte NUL at the start: UTF-16 of plain text saved without its mark."""
    head = content[:64]
    return len(head) >= 4 and (not any(head[1::2]) or not any(head[0::2])) and any(head)
