"""Spoiled detection files: damaged bytes, and sound JSON with one thing in it replaced."""

from __future__ import annotations

import copy
import json
from typing import Any

from numpy.random import Generator

SNIPPETS = [
    *(b"NaN", b"Infinity", b"1e400", b"-1", b"01", b"+1", b"1.", b".5", b"1_000", b"1 2", b"9" * 310),
    *(b"null", b"true", b'"1"', b'"\\ud800"', b'"\\u0041"', b"\\", b'"', b"'", b",", b"[", b"]", b"{", b"}"),
    *(b'"bbox": [1, 1, 1, 1],', b'"score": 1,', b'"\\u0073core": 0.5,', b'"note": "x",', b"// note\n"),
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", "１".encode(), b"\r\n", b"\t", b"[" * 3000, b"1e-400", b"-0"),
]
VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 7, 10**18, 10**30, 10**300, 0.5, -0.0, 1.0, 1e-320, 1e-200, 1e9, 1e10),
    *(1e308, -1e308, "", "1", "cat", "0.5", "\u2603", [], {}, [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, -1, 1]),
    *([1] * 6, [1, 1, 1e308, 1e308], [0, 0, 1e-200, 1e-200], [[1, 1, 1, 1]], [1, 1, 1, "1"], {"id": 1}),
]
KEYS = ["image_id", "category_id", "category", "label", "bbox", "score", "area", "iscrowd", "difficult", "id"]


def spoil(rng: Generator, document: Any) -> bytes:
    """``document`` as JSON with a few random faults, some of which leave it sound."""
    for _ in range(int(rng.integers(0, 3))):
        document = _replace_one(rng, document)
    content = json.dumps(document, indent=None if rng.random() < 0.7 else 1).encode()
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 3))):
            content = _damage(rng, content)
    return content


def _damage(rng: Generator, content: bytes) -> bytes:
    start = int(rng.integers(len(content) + 1))
    end = start + int(rng.integers(12))
    match int(rng.integers(4)):
        case 0:
            return content[:start] + content[end:]
        case 1:
            return content[:start] + content[start:end] * 2 + content[end:]
        case 2:
            return content[:start] + SNIPPETS[int(rng.integers(len(SNIPPETS)))] + content[start:]
        case _:
            return content[:start]


def _replace_one(rng: Generator, document: Any) -> Any:
    """A copy with one value, somewhere, replaced, removed, added or doubled."""
    copied = copy.deepcopy(document)
    boxes: list[Any] = copied if isinstance(copied, list) else copied.get("annotations", [])
    lists = [boxes] if isinstance(copied, list) else [copied[key] for key in copied if copied[key]]
    if not boxes or not any(lists):
        return copied
    chosen = lists[int(rng.integers(len(lists)))] if rng.random() < 0.4 else boxes
    at = int(rng.integers(len(chosen)))
    value = VALUES[int(rng.integers(len(VALUES)))]
    entry, kind = chosen[at], int(rng.integers(6))
    if kind == 0 or not isinstance(entry, dict):
        chosen[at] = value
    elif kind == 1:
        chosen.append(entry)
    elif kind == 2:
        entry.pop(list(entry)[int(rng.integers(len(entry)))])
    elif kind == 3 and isinstance(entry.get("bbox"), list) and entry["bbox"]:
        entry["bbox"][int(rng.integers(len(entry["bbox"])))] = value
    else:
        keys = KEYS if rng.random() < 0.3 else list(entry)
        entry[keys[int(rng.integers(len(keys)))]] = value
    return copied
