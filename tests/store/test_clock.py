"""One clock for all processes of a machine."""

from __future__ import annotations

import time

from autoscorer.store.clock import Instant, kernel_clock


def test_the_kernels_clock_counts_the_machines_seconds() -> None:
    first = kernel_clock()
    assert abs(first.elapsed_s - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1
    assert first.plus(1).passed(kernel_clock()) is False
    assert first.plus(-1).passed(first)


def test_a_deadline_of_another_era_has_passed() -> None:
    now = kernel_clock()
    later = Instant(at=now.at, era="after a reboot", elapsed_s=0)
    assert now.plus(1_000_000).passed(later)


def test_a_servers_time_is_its_date_and_its_seconds() -> None:
    instant = Instant.of_server(1_700_000_000.5)
    assert instant.at.isoformat() == "2023-11-14T22:13:20.500000+00:00"
    assert instant.elapsed_s == 1_700_000_000.5
