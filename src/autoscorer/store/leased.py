"""What the holder of a lease may do to its job, decided alike in every store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from autoscorer.store import moves
from autoscorer.store.clock import Instant
from autoscorer.store.moves import Change
from autoscorer.store.records import Job, JsonObject, Lease, Note

Decide = Callable[[Job, Instant], Change | None]


class LeasedWork(ABC):
    """That part of `base.Work`; a store adds how a decision is applied."""

    @abstractmethod
    def _change(self, lease: Lease, decide: Decide, *, light: bool = False) -> Job:
        """The job after what ``decide`` says of it, or as it is; ``light``: a crash may undo it."""

    def note(
        self, lease: Lease, *, event: str, facts: JsonObject, stage: str | None = None, ago_s: float = 0.0
    ) -> Job:
        return self._change(
            lease,
            lambda job, _now: moves.note(job, lease, event=event, facts=facts, stage=stage, ago_s=ago_s),
            light=True,
        )

    def succeed(self, lease: Lease, *, result: JsonObject, notes: Sequence[Note] = ()) -> Job:
        return self._end(lease, notes, lambda job, now: moves.succeed(job, lease, result=result, now=now))

    def fail(
        self,
        lease: Lease,
        *,
        error: JsonObject,
        result: JsonObject | None = None,
        notes: Sequence[Note] = (),
    ) -> Job:
        return self._end(
            lease, notes, lambda job, now: moves.fail(job, lease, error=error, result=result, now=now)
        )

    def give_back(
        self, lease: Lease, *, error: JsonObject, delay_s: float = 0.0, notes: Sequence[Note] = ()
    ) -> Job:
        return self._end(
            lease, notes, lambda job, now: moves.give_back(job, lease, error=error, delay_s=delay_s, now=now)
        )

    def hand_over(self, lease: Lease, *, error: JsonObject, notes: Sequence[Note] = ()) -> Job:
        return self._end(lease, notes, lambda job, now: moves.hand_over(job, lease, error=error, now=now))

    def _end(self, lease: Lease, notes: Sequence[Note], decide: Decide) -> Job:
        return self._change(lease, lambda job, now: moves.after_notes(decide(job, now), notes))
