"""Following a job to its end: the event stream while it lasts, asking in turns where there is none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

from autoscorer.client.answers import read_view
from autoscorer.client.connection import STREAM_SILENCE_S, Connection, in_path, may_pass
from autoscorer.client.server_events import ServerEvent, parse_events
from autoscorer.schemas.service import EventView, JobView
from autoscorer.utils.errors import AutoscorerError

PATIENCE_S = 120.0  # with a service that is away; the jobs of one that was killed go on within 45 s
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 3.0
OnEvent = Callable[[EventView], object]


class NoStreamError(Exception):
    """What answers gives no event stream, or one that cannot be read."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for what: ``timeout_s`` for the job's end, ``outage_s`` for a service that is away."""

    timeout_s: float | None = None
    outage_s: float = PATIENCE_S
    elapsed: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Watch:
    """One job being followed by one reader."""

    def __init__(self, connection: Connection, task_id: str, patience: Patience, *, after: int = 0) -> None:
        self._connection = connection
        self._path = f"/api/v1/jobs/{in_path(task_id)}"
        self._task_id = task_id
        self._patience = patience
        self._ends_at = None if patience.timeout_s is None else patience.elapsed() + patience.timeout_s
        self._last, self._latest = after, ""
        self._has_stream = True

    def end(self, on_event: OnEvent) -> JobView:
        """The job once it has ended; ``on_event`` is told what happens until then. Raises as `events`."""
        events = self.events()
        while True:
            try:
                on_event(next(events))
            except StopIteration as exc:
                ended: JobView = exc.value
                return ended

    def events(self) -> Generator[EventView, None, JobView]:
        """What happens until the job has ended, each event once, in order; the return is the ended job.

        Raises TimeoutError when that takes longer than ``timeout_s``, SERVICE_UNREACHABLE when the service
        is away for longer than ``outage_s``, and what the service refuses, such as NOT_FOUND.
        """
        pause_s, away_since = FIRST_PAUSE_S, None
        while True:
            before = self._last
            yield from self._follow() if self._has_stream else self._listed()
            try:
                job, away_since = self._job(), None
                if job.is_final:
                    if self._latest != f"job_{job.state}":  # the stream broke off before its end
                        yield from self._listed()
                    return job
            except AutoscorerError as exc:
                now_s = self._patience.elapsed()
                away_since = now_s if away_since is None else away_since
                if not may_pass(exc) or now_s - away_since > self._patience.outage_s:
                    raise
            pause_s = FIRST_PAUSE_S if self._last > before else min(2 * pause_s, LONGEST_PAUSE_S)
            self._patience.sleep(self._within(pause_s))

    def _follow(self) -> Iterator[EventView]:
        """The events until the stream ends or breaks off."""
        silence_s = self._within(STREAM_SILENCE_S)
        path = f"{self._path}/events"
        try:
            with closing(
                stream_events(self._connection, path, after=self._last, silence_s=silence_s)
            ) as told:
                for event in told:
                    if event is not None and event.number > self._last:
                        self._last, self._latest = event.number, event.name
                        yield event
                    if self._within(STREAM_SILENCE_S) < silence_s:  # for a silence that ends in time
                        return
        except NoStreamError:
            self._has_stream = False
        except AutoscorerError as exc:
            if not may_pass(exc):
                raise

    def _listed(self) -> Iterator[EventView]:
        """The events since the last one told; none where they cannot be had: they are news, not the end."""
        try:
            for event in list_events(self._connection, f"{self._path}/events", after=self._last):
                if event.number > self._last:
                    self._last, self._latest = event.number, event.name
                    yield event
        except AutoscorerError:
            return

    def _job(self) -> JobView:
        where = f"{self._connection.url}{self._path}"
        return read_view(JobView, self._connection.get(self._path), where=where)

    def _within(self, wait_s: float) -> float:
        """As much of it as is left. Raises TimeoutError when nothing is."""
        if self._ends_at is None:
            return wait_s
        left_s = self._ends_at - self._patience.elapsed()
        if left_s <= 0:
            text = f"job {self._task_id} has not ended within {self._patience.timeout_s:g} s; it goes on"
            raise TimeoutError(text)
        return min(wait_s, left_s)


def list_events(connection: Connection, path: str, *, after: int = 0) -> Iterator[EventView]:
    """The events after number ``after`` that there are now. Raises AutoscorerError."""
    while True:
        page = connection.get(path, {"after": after})
        for event in page.get("events") or ():
            view = read_view(EventView, event, where=f"{connection.url}{path}")
            yield view
        if not isinstance(following := page.get("next"), int) or following <= after:
            return
        after = following


def stream_events(
    connection: Connection, path: str, *, after: int = 0, silence_s: float = STREAM_SILENCE_S
) -> Generator[EventView | None]:
    """The events after number ``after`` as they happen, None for a sign of life, until the stream ends.

    Raises AutoscorerError, and `NoStreamError` when what comes is no event stream.
    """
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(after)} if after else {})
    with connection.stream(path, headers=headers, silence_s=silence_s) as response:
        if response.status_code == 204:  # it has ended, and nothing came after
            return
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            raise NoStreamError
        try:
            for event in parse_events(response.iter_lines()):
                yield _told(event, f"{connection.url}{path}") if event is not None else None
        except ValueError as exc:
            raise NoStreamError from exc


def _told(event: ServerEvent, where: str) -> EventView | None:
    """An event of a job; None for another kind."""
    value = json.loads(event.text)
    if not isinstance(value, dict) or not {"number", "name"} <= value.keys():
        return None
    return read_view(EventView, value, where=where)
