"""The one table of a job's states: what each means to people, whose turn it is, and which moves there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """Where a job is. Every job is in exactly one of these."""

    QUEUED = "queued"
    RELEASED = "released"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Turn(StrEnum):
    """Who acts next. ``BLAMED``: whoever the job's error blames."""

    SCHEDULER = "scheduler"
    WORKER = "worker"
    BLAMED = "blamed"
    NOBODY = "nobody"


@dataclass(frozen=True, kw_only=True)
class StateRow:
    """A state as people see it. A ``final`` one changes only by a retry; a ``leased`` one has a holder."""

    turn: Turn
    told_en: str
    told_zh: str
    final: bool = False
    leased: bool = False


STATES: Mapping[JobState, StateRow] = {
    JobState.QUEUED: StateRow(
        turn=Turn.SCHEDULER,
        told_en="Waiting for a free worker.",
        told_zh="正在等待空闲的工作进程。",
    ),
    JobState.RELEASED: StateRow(
        turn=Turn.WORKER,
        told_en="Handed to the workers; one of them starts it next.",
        told_zh="已交给工作进程，即将开始。",
    ),
    JobState.RUNNING: StateRow(
        turn=Turn.WORKER,
        told_en="A worker is running it.",
        told_zh="正在由工作进程运行。",
        leased=True,
    ),
    JobState.CANCELLING: StateRow(
        turn=Turn.WORKER,
        told_en="Being stopped, because somebody cancelled it; it will have no score.",
        told_zh="已被取消，正在停止；不会产生分数。",
        leased=True,
    ),
    JobState.SUCCEEDED: StateRow(
        turn=Turn.NOBODY,
        told_en="Finished; the result is there.",
        told_zh="已完成，结果可供查看。",
        final=True,
    ),
    JobState.FAILED: StateRow(
        turn=Turn.BLAMED,
        told_en="Finished without a score; the error says whose fault it was and what to do.",
        told_zh="已结束但没有分数；错误信息说明了责任方和处理方法。",
        final=True,
    ),
    JobState.CANCELLED: StateRow(
        turn=Turn.NOBODY,
        told_en="Cancelled; nothing of it is running.",
        told_zh="已取消，没有任何残留进程。",
        final=True,
    ),
}

FINAL = frozenset(state for state, row in STATES.items() if row.final)
ACTIVE = frozenset(STATES) - FINAL
LEASED = frozenset(state for state, row in STATES.items() if row.leased)
WAITING = ACTIVE - LEASED
GIVEN_OUT = ACTIVE - {JobState.QUEUED}  # what counts when jobs are shared out fairly


class Move(StrEnum):
    """What can happen to a job."""

    RELEASE = "release"  # a message that names it goes to the broker
    WITHDRAW = "withdraw"  # that message was lost
    CLAIM = "claim"  # a worker takes it under a lease
    SUCCEED = "succeed"
    FAIL = "fail"
    REQUEUE = "requeue"  # the platform failed it, or its worker is gone: another attempt
    DROP = "drop"  # cancelled before anybody ran it
    ASK_CANCEL = "ask_cancel"  # cancelled while it runs: its worker is told
    END_CANCEL = "end_cancel"  # its worker has stopped it, or is gone
    RETRY = "retry"  # a person starts it again


TRANSITIONS: Mapping[Move, tuple[frozenset[JobState], JobState]] = {
    Move.RELEASE: (frozenset({JobState.QUEUED}), JobState.RELEASED),
    Move.WITHDRAW: (frozenset({JobState.RELEASED}), JobState.QUEUED),
    Move.CLAIM: (WAITING, JobState.RUNNING),
    Move.SUCCEED: (frozenset({JobState.RUNNING}), JobState.SUCCEEDED),
    Move.FAIL: (frozenset({JobState.RUNNING}), JobState.FAILED),
    Move.REQUEUE: (frozenset({JobState.RUNNING}), JobState.QUEUED),
    Move.DROP: (WAITING, JobState.CANCELLED),
    Move.ASK_CANCEL: (frozenset({JobState.RUNNING}), JobState.CANCELLING),
    Move.END_CANCEL: (frozenset({JobState.CANCELLING}), JobState.CANCELLED),
    Move.RETRY: (frozenset({JobState.FAILED, JobState.CANCELLED}), JobState.QUEUED),
}


MAY_RUN = ACTIVE | TRANSITIONS[Move.RETRY][0]  # what is worked on, now or later, or may be once more


def allows(state: JobState, move: Move) -> bool:
    """Whether ``move`` may happen to a job in ``state``."""
    return state in TRANSITIONS[move][0]


def state_after(state: JobState, move: Move) -> JobState:
    """Where ``move`` leads. Raises ValueError if it may not happen in ``state``."""
    if not allows(state, move):
        raise ValueError(f"no {move} of a job that is {state}")
    return TRANSITIONS[move][1]
