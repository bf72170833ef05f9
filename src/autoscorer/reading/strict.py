"""The strict reader: the definition of what a delivered table or JSON document means, and of each fault."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

from autoscorer.reading.source import Source
from autoscorer.reading.text import decode_text, shown

JSON_EXAMPLE = '[{"id": "1", "label": "cat"}]'
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


class _RejectedError(ValueError):
    """Raised inside the parser's hooks; becomes an AutoscorerError with the file's name."""

    def __init__(self, code: str, what: str) -> None:
        super().__init__(what)
        self.code = code
        self.what = what


def strict_json(data: bytes, source: Source) -> Any:
    """The value of one UTF-8 JSON document; a byte order mark is fine.

    Raises AutoscorerError: PARSE_ERROR for anything the JSON grammar does not allow (NaN, Infinity,
    text after the value), duplicate keys, lone surrogates and nesting deeper than the interpreter's stack;
    BAD_FORMAT for an empty file and for a number that no 64-bit float holds.
    """
    text = decode_text(data, source, example=JSON_EXAMPLE)
    details = {"expected": "one JSON document (RFC 8259)", "example": JSON_EXAMPLE}
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constant,
            parse_float=_finite_float,
            parse_int=_bounded_int,
        )
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as exc:
        message = f"{source.name}, line {exc.lineno}, column {exc.colno}: not JSON: {exc.msg}"
        raise source.fault("PARSE_ERROR", message, {"line": exc.lineno} | details) from exc
    except UnicodeEncodeError as exc:
        message = f"{source.name} holds half of a surrogate pair (\\ud800–\\udfff)"
        raise source.fault("PARSE_ERROR", message, details) from exc
    except _RejectedError as exc:
        raise source.fault(exc.code, f"{source.name}: {exc.what}", details) from exc
    except RecursionError as exc:
        raise source.fault("PARSE_ERROR", f"{source.name} is nested too deeply", details) from exc
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _RejectedError("PARSE_ERROR", f"the key {shown(twice)} stands twice in one object")
    return mapping


def _no_constant(text: str) -> NoReturn:
    raise _RejectedError("PARSE_ERROR", f"{text} is not JSON; every number must be finite")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _RejectedError("BAD_FORMAT", f"the number {shown(text)} is too large for a 64-bit float")
    return number


def _bounded_int(text: str) -> int:
    # int() is quadratic in the digits; 309 is where a float overflows too.
    if len(text) > 309:
        raise _RejectedError("BAD_FORMAT", f"the number {shown(text)} is too large for a 64-bit float")
    return int(text)
