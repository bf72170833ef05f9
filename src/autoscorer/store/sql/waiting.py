"""Which waiting job is next: by priority, then of the organisation with fewest given out, then the oldest."""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy import Double, Select, String, bindparam, func, or_, select, union_all

from autoscorer.store.clock import Deadline, Instant
from autoscorer.store.sql.tables import is_one_of, jobs, organisations
from autoscorer.store.transitions import GIVEN_OUT, JobState

_QUEUED, _RELEASED = frozenset({JobState.QUEUED}), frozenset({JobState.RELEASED})
_NOW_S, _NOW_ERA = bindparam("now_s", type_=Double), bindparam("now_era", type_=String)


def at(now: Instant | Deadline) -> dict[str, Any]:
    """The parameters of `next_waiting` and `one_released`."""
    return {"now_s": now.elapsed_s, "now_era": now.era}


@functools.cache  # to put it together takes longer than to execute it
def next_waiting(queues: tuple[str, ...]) -> Select[Any]:
    """The next job of ``queues``. Of each organisation only the first is looked at, however many wait."""
    heads = union_all(*map(_heads, queues)).subquery()
    others = jobs.alias("others")
    # Counted for each head by itself: over all at once, SQLite's planner may read every job there is.
    given_out = (
        select(func.count())
        .where(is_one_of(others.c.state, GIVEN_OUT), others.c.organisation_id == jobs.c.organisation_id)
        .correlate(jobs)
        .scalar_subquery()
    )
    return (
        select(jobs)
        .join(heads, heads.c.seq == jobs.c.seq)
        .order_by(jobs.c.priority.desc(), given_out, jobs.c.seq)
        .limit(1)
    )


@functools.cache
def one_waiting(queue: str) -> Select[Any]:
    """Whether any job of ``queue`` waits, due or not: one of them."""
    return select(jobs.c.seq).where(is_one_of(jobs.c.state, _QUEUED), jobs.c.queue == queue).limit(1)


@functools.cache
def one_released(queues: tuple[str, ...]) -> Select[Any]:
    """Whether any job of ``queues`` is released and its message not lost by then: one of them."""
    kept = (jobs.c.until_s > _NOW_S, jobs.c.until_era == _NOW_ERA)
    return (
        select(jobs.c.seq).where(is_one_of(jobs.c.state, _RELEASED), jobs.c.queue.in_(queues), *kept).limit(1)
    )


@functools.cache
def how_many(states: frozenset[JobState], queues: tuple[str, ...]) -> Select[Any]:
    """The number of jobs of ``queues`` in ``states``."""
    return select(func.count()).where(is_one_of(jobs.c.state, states), jobs.c.queue.in_(queues))


def _heads(queue: str) -> Select[Any]:
    """Each organisation's first job in ``queue`` that may be claimed now."""
    due = or_(
        jobs.c.until_s.is_(None),
        jobs.c.until_s <= _NOW_S,
        jobs.c.until_era != _NOW_ERA,
    )
    head = (
        select(jobs.c.seq)
        .where(
            is_one_of(jobs.c.state, _QUEUED),
            jobs.c.queue == queue,
            jobs.c.organisation_id == organisations.c.organisation_id,
            due,
        )
        .order_by(jobs.c.priority.desc(), jobs.c.seq)
        .limit(1)
        .correlate(organisations)
        .scalar_subquery()
    )
    return select(head.label("seq")).select_from(organisations)
