"""A job's log as it grows, byte for byte, across connections that break off."""

from __future__ import annotations

from collections.abc import Iterator

from autoscorer.client.answers import read_view
from autoscorer.client.connection import Connection, in_path, may_pass
from autoscorer.client.watching import FIRST_PAUSE_S, LONGEST_PAUSE_S, Patience
from autoscorer.schemas.service import JobView
from autoscorer.utils.errors import AutoscorerError


class LogReader:
    """One reader of one job's log; what it has read it does not ask for again."""

    def __init__(self, connection: Connection, task_id: str, patience: Patience) -> None:
        self._connection = connection
        self._path = f"/api/v1/jobs/{in_path(task_id)}"
        self._patience = patience
        self._offset = 0

    def pieces(self, *, follow: bool) -> Iterator[bytes]:
        """The log from its beginning; with ``follow`` until the job has ended.

        Raises NOT_FOUND where there is none, SERVICE_UNREACHABLE when the service is away for longer than
        ``outage_s``, and what else the service refuses.
        """
        pause_s, away_since, may_grow = FIRST_PAUSE_S, None, follow
        while True:
            before = self._offset
            try:
                yield from self._read(follow=may_grow)
                if not may_grow:
                    return
                may_grow, away_since = not self._has_ended(), None
                if not may_grow:
                    continue  # for its last lines
            except AutoscorerError as exc:
                if exc.code == "NOT_FOUND" and not may_grow and (follow or self._offset):
                    return  # it ended without a word, or what was read is all there was
                now_s = self._patience.elapsed()
                away_since = now_s if away_since is None or self._offset > before else away_since
                if not may_pass(exc) or now_s - away_since > self._patience.outage_s:
                    raise
            pause_s = FIRST_PAUSE_S if self._offset > before else min(2 * pause_s, LONGEST_PAUSE_S)
            self._patience.sleep(pause_s)

    def _read(self, *, follow: bool) -> Iterator[bytes]:
        query = f"?offset={self._offset}" + ("&follow=true" if follow else "")
        try:
            with self._connection.stream(f"{self._path}/log{query}", headers={"Accept": "*/*"}) as response:
                for piece in response.iter_raw():
                    self._offset += len(piece)
                    yield piece
        except AutoscorerError as exc:
            if not (follow and exc.details.get("silent")):  # a container may say nothing for long
                raise

    def _has_ended(self) -> bool:
        view = self._connection.get(self._path)
        return read_view(JobView, view, where=f"{self._connection.url}{self._path}").is_final
