"""Server-sent events, taken apart: lines in, events out (WHATWG HTML, section 9.2.6). A pure function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_DATA_CHARS = 2**20


@dataclass(frozen=True, kw_only=True)
class ServerEvent:
    """One event; ``name`` is ``message`` where none is given, ``last_id`` what to go on after."""

    name: str
    text: str
    last_id: str


def parse_events(lines: Iterable[str]) -> Iterator[ServerEvent | None]:
    """The events of a stream of lines without their ends; None for a line that is only a sign of life.

    An event that has not ended when the stream does is not given. Raises ValueError for one without end.
    """
    name, last_id = "", ""
    text: list[str] = []
    for line in lines:
        if not line:
            if text:
                yield ServerEvent(name=name or "message", text="\n".join(text), last_id=last_id)
            name, text = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "":
            yield None
        elif field == "data":
            text.append(value)
        elif field == "event":
            name = value
        elif field == "id" and "\0" not in value:
            last_id = value
        if sum(map(len, text)) > MAX_DATA_CHARS:
            raise ValueError(f"an event has more than {MAX_DATA_CHARS} characters")
