from __future__ import annotations

from collections.abc import Callable

import pytest

from autoscorer.utils.errors import AutoscorerError, code_table
from autoscorer.utils.retry import BackOff, is_transient, retry_transient


def failing(*errors: BaseException) -> Callable[[], int]:
    """A call that raises these in turn, then gives how often it was asked."""
    asked: list[int] = []

    def call() -> int:
        asked.append(1)
        if len(asked) <= len(errors):
            raise errors[len(asked) - 1]
        return len(asked)

    return call


def must_not_wait(_seconds: float) -> None:
    raise AssertionError("it waited")


def fresh(cause: str = "network") -> AutoscorerError:
    return AutoscorerError("IMAGE_PULL_FAILED", "x", cause=cause)


def test_what_succeeds_is_called_once() -> None:
    assert retry_transient(failing(), back_off=BackOff(), sleep=must_not_wait) == 1


def test_a_transient_failure_is_tried_again_with_growing_waits() -> None:
    waits: list[float] = []
    told: list[tuple[int, float]] = []
    tries = retry_transient(
        failing(fresh(), fresh(), fresh()),
        back_off=BackOff(tries=4, first_wait_s=1, longest_wait_s=3),
        on_retry=lambda _error, tries, wait_s: told.append((tries, wait_s)),
        sleep=waits.append,
    )
    assert tries == 4
    # 1, 2, 4 seconds, of which at most 3, and up to 1 of chance
    assert all(low <= wait <= high for wait, (low, high) in zip(waits, [(1, 2), (2, 3), (3, 4)], strict=True))
    assert told == [(1, waits[0]), (2, waits[1]), (3, waits[2])]


def test_the_last_failure_is_raised_as_it_is_with_the_number_of_tries() -> None:
    errors = [fresh(), fresh(), fresh()]
    with pytest.raises(AutoscorerError) as caught:
        retry_transient(failing(*errors), back_off=BackOff(tries=3), sleep=lambda _: None)
    assert caught.value is errors[-1]
    assert caught.value.details["tries"] == 3


@pytest.mark.parametrize(
    "error",
    [fresh("denied"), AutoscorerError("CONTAINER_EXIT_NONZERO", "x"), ValueError(), KeyboardInterrupt()],
)
def test_a_participants_failure_or_our_own_bug_is_never_tried_again(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        retry_transient(failing(error), back_off=BackOff(), sleep=must_not_wait)
    assert caught.value is error
    assert "tries" not in getattr(error, "details", {})


def test_a_transient_failure_that_turns_into_another_is_not_tried_again() -> None:
    with pytest.raises(AutoscorerError) as caught:
        retry_transient(failing(fresh(), fresh("denied")), back_off=BackOff(), sleep=lambda _: None)
    assert caught.value.cause == "denied"


def test_no_try_begins_after_the_budget() -> None:
    waits: list[float] = []
    with pytest.raises(AutoscorerError):
        retry_transient(
            failing(*(fresh() for _ in range(9))),
            back_off=BackOff(tries=9, first_wait_s=2, longest_wait_s=2, budget_s=1),
            sleep=waits.append,
        )
    assert waits == []


def test_who_is_told_of_a_retry_may_end_it() -> None:
    def stop(*_: object) -> None:
        raise AutoscorerError("CANCELLED", "stopped")

    with pytest.raises(AutoscorerError) as caught:
        retry_transient(failing(fresh()), back_off=BackOff(), on_retry=stop, sleep=must_not_wait)
    assert caught.value.code == "CANCELLED"


def test_exactly_the_platforms_retryable_rows_are_transient() -> None:
    found = {
        (row.code, row.cause)
        for row in code_table()
        if is_transient(AutoscorerError(row.code, "x", cause=row.cause))
    }
    assert {("IMAGE_PULL_FAILED", "network"), ("CONTAINER_WAIT_FAILED", "")} <= found
    participants = {(row.code, row.cause) for row in code_table() if row.blame == "participant"}
    assert not found & participants
    assert ("WORKSPACE_BUSY", "") not in found
