"""The folders of scorers that this process watches, until they are let go or the process ends."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoscorer.schemas.envelope import iso_now
from autoscorer.scorers.library import Library, Loaded
from autoscorer.scorers.library.watching import Event, Watching
from autoscorer.utils.errors import AutoscorerError

MOST_WATCHES, MOST_EVENTS = 8, 50
OnLoaded = Callable[[Loaded], None]


@dataclass(frozen=True, kw_only=True)
class Watch:
    """One of them. ``name`` is how the request called it; ``events`` are the latest, oldest first."""

    name: str
    since: str
    watching: Watching
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MOST_EVENTS))


class Watches:
    """All watches of this process. Safe to use from several threads; `close` ends them."""

    def __init__(self) -> None:
        self._watches: dict[Path, Watch] = {}
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Watch]:
        return iter(sorted(self._watches.values(), key=lambda watch: watch.name))

    def begin(self, library: Library, path: Path, *, name: str, on_loaded: OnLoaded) -> Watch:
        """Watch ``path``; one that is watched goes on as it is. ``on_loaded`` hears of what was loaded.

        Raises AutoscorerError as `watching.watch`, and CONFLICT when there are too many.
        """
        with self._lock:
            present = self._watches.get(path)
            if present is not None:
                return present
            if len(self._watches) >= MOST_WATCHES:
                message = f"This process watches {MOST_WATCHES} folders already; end one of them."
                raise AutoscorerError("CONFLICT", message, {"limit": MOST_WATCHES}, cause="name")
            events: deque[dict[str, Any]] = deque(maxlen=MOST_EVENTS)

            def tell(event: Event) -> None:
                events.append(_told(event))
                if event.loaded is not None:
                    on_loaded(event.loaded)

            watch = Watch(name=name, since=iso_now(), watching=Watching(library, path, tell), events=events)
            self._watches[path] = watch
            return watch

    def end(self, path: Path) -> Watch | None:
        """End a watch; None if there is none of that path."""
        with self._lock:
            watch = self._watches.pop(path, None)
        if watch is not None:
            watch.watching.stop()
        return watch

    def close(self) -> None:
        """End them all. Safe to call twice."""
        for path in list(self._watches):
            self.end(path)


def _told(event: Event) -> dict[str, Any]:
    at = iso_now()
    error = event.error.to_dict() if event.error is not None else None
    loaded = [f"{card.name}@{card.sha256}" for card in event.loaded.cards] if event.loaded else []
    return {"at": at, "file": event.source.name, "loaded": loaded, "error": error}
