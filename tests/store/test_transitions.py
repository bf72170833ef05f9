"""The table of states is whole, and nothing happens outside of it."""

from __future__ import annotations

import itertools

import pytest

from autoscorer.store.transitions import (
    ACTIVE,
    FINAL,
    LEASED,
    STATES,
    TRANSITIONS,
    JobState,
    Move,
    Turn,
    allows,
    state_after,
)


def test_every_state_says_whose_turn_it_is_and_what_a_user_is_told() -> None:
    assert set(STATES) == set(JobState)
    for row in STATES.values():
        assert row.turn in Turn
        assert row.told_en.endswith(".")
        assert row.told_zh.endswith("。")
    assert len({row.told_en for row in STATES.values()}) == len(STATES)


def test_every_move_stands_in_the_table() -> None:
    assert set(TRANSITIONS) == set(Move)


# Written by hand from the design, not taken from the table.
ALLOWED = {
    ("queued", "released"),
    ("queued", "running"),
    ("queued", "cancelled"),
    ("released", "queued"),
    ("released", "running"),
    ("released", "cancelled"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "queued"),
    ("running", "cancelling"),
    ("cancelling", "cancelled"),
    ("failed", "queued"),
    ("cancelled", "queued"),
}


def test_the_table_allows_what_the_design_says_and_nothing_else() -> None:
    steps = {(str(before), str(after)) for froms, after in TRANSITIONS.values() for before in froms}
    assert steps == ALLOWED


@pytest.mark.parametrize(("state", "move"), list(itertools.product(JobState, Move)))
def test_a_move_that_is_not_allowed_is_refused(state: JobState, move: Move) -> None:
    if allows(state, move):
        assert (state, state_after(state, move)) in ALLOWED
    else:
        with pytest.raises(ValueError, match=move):
            state_after(state, move)


def test_every_state_can_be_reached_and_every_active_one_left() -> None:
    reached = {JobState.QUEUED} | {after for _, after in TRANSITIONS.values()}
    left = {before for froms, _ in TRANSITIONS.values() for before in froms}
    assert reached == set(JobState)
    assert left >= ACTIVE


def test_a_score_is_final() -> None:
    assert not any(allows(JobState.SUCCEEDED, move) for move in Move)
    assert {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED} == FINAL
    assert {JobState.RUNNING, JobState.CANCELLING} == LEASED
