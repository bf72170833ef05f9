"""JSON as its standard says, no more: what others would read otherwise, or not at all, is refused."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn

MAX_DEPTH = 64


def parse_strict(content: bytes) -> Any:
    """The value in ``content``.

    Raises ValueError that says what is wrong: no JSON, not UTF-8 (UnicodeDecodeError), NaN, Infinity or a
    number as large, a key twice in one object, half of a surrogate pair, nested over `MAX_DEPTH` deep.
    """
    text = content.decode("utf-8-sig")
    try:
        value = json.loads(
            text, parse_float=_finite, parse_constant=_no_constant, object_pairs_hook=_no_duplicates
        )
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError as exc:
        raise ValueError(f"is not valid JSON: {exc}") from exc
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError("is nested too deeply")
    if "\\u" in text:
        _check_surrogates(value)
    return value


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair (\\ud800-\\udfff)") from None


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        level = [below for above in level for below in _below(above)]
        depth += 1
    return depth - 1


def _below(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is beyond every number of 64 bits")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"key {twice!r} appears twice")
    return found
