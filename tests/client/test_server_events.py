"""Server-sent events by the standard's own examples (WHATWG HTML, 9.2.6), and what must not get through."""

from __future__ import annotations

import pytest

from autoscorer.client.server_events import MAX_DATA_CHARS, parse_events

Told = tuple[str, str, str] | None
CASES: dict[str, tuple[str, list[Told]]] = {
    "two lines of data are one text": (
        "data: YHOO\ndata: +2\ndata: 10\n\n",
        [("message", "YHOO\n+2\n10", "")],
    ),
    "ids are kept until the next": (
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [
            None,
            ("message", "first event", "1"),
            ("message", "second event", ""),
            ("message", " third event", ""),
        ],
    ),
    "an empty line of data is data": (
        "data\n\ndata\ndata\n\ndata:\n",
        [("message", "", ""), ("message", "\n", "")],
    ),
    "names are of one event": (
        "event: add\ndata: 73857293\n\ndata: 1\n\n",
        [("add", "73857293", ""), ("message", "1", "")],
    ),
    "an unknown field is nothing": ("retry: 10\nfoo: bar\ndata: x\n\n", [("message", "x", "")]),
    "an id with a NUL is none": ("id: a\0b\ndata: x\n\n", [("message", "x", "")]),
    "what is cut off is not told": ("data: whole\n\ndata: half\n", [("message", "whole", "")]),
    "blanks are signs of life": (":\n:\n\n", [None, None]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_stream_means_what_the_standard_says(name: str) -> None:
    stream, expected = CASES[name]
    lines = stream.split("\n")[:-1]
    found = [event and (event.name, event.text, event.last_id) for event in parse_events(lines)]
    assert found == expected


def test_an_event_without_end_is_not_kept() -> None:
    lines = ("data: " + "x" * 1000 for _ in range(MAX_DATA_CHARS))
    with pytest.raises(ValueError, match="more than"):
        list(parse_events(lines))
