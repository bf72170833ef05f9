"""The breaker of one node, on a clock that the test moves."""

from __future__ import annotations

import pytest

from autoscorer.executor.nodes.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(failures=3, back_off_s=10, longest_s=35, clock=clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.enter()
        breaker.failed("EXEC_ERROR")


def test_it_opens_after_as_many_failures_in_a_row_and_not_before(breaker: Breaker) -> None:
    fail(breaker, 2)
    assert breaker.refusal() is None
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.refusal() is None
    fail(breaker, 1)
    assert breaker.refusal() == "it failed 3 times (EXEC_ERROR) and is left alone for 10 s more"


def test_then_one_job_tries_it_and_no_second_one(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 9.9
    assert breaker.refusal() is not None
    clock.now = 10
    assert breaker.refusal() is None
    assert breaker.enter()
    assert breaker.refusal() == "one job tries it after it failed (EXEC_ERROR)"


def test_a_success_of_the_trial_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 10
    breaker.enter()
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.refusal() is None


def test_a_trial_that_fails_opens_it_for_twice_as_long_up_to_a_bound(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    for pause_s in (20, 35, 35):
        clock.now += 1000
        fail(breaker, 1)
        clock.now += pause_s - 0.1
        assert breaker.refusal() is not None
        clock.now += 0.1
        assert breaker.refusal() is None


def test_a_trial_whose_program_started_lets_others_in_and_one_more_failure_opens_it(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker, 3)
    clock.now = 10
    breaker.enter()
    breaker.began()
    assert breaker.refusal() is None
    fail(breaker, 1)
    assert "left alone for 20 s" in str(breaker.refusal())


def test_a_trial_that_was_cancelled_leaves_it_to_the_next_job(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 10
    breaker.enter()
    breaker.left()
    assert breaker.refusal() is None
    assert breaker.enter()


def test_jobs_lost_at_once_open_it_once(breaker: Breaker, clock: Clock) -> None:
    for _ in range(8):
        breaker.failed("CONTAINER_WAIT_FAILED")
    clock.now = 10
    assert breaker.refusal() is None
