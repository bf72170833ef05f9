"""What a Celery worker does when it may not claim: its tap and what it says of itself never differ."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from celery_app import serving
from celery_app.serving import Serving
from tests.worker.sites import Site

pytestmark = pytest.mark.slow


class SlowTap:
    """Closing takes until it is opened, or for a while."""

    def __init__(self) -> None:
        self.moves: list[str] = []
        self.closing, self.opening = threading.Event(), threading.Event()

    def close(self) -> None:
        self.closing.set()
        self.opening.wait(0.5)
        self.moves.append("close")

    def open(self) -> None:
        self.opening.set()
        self.moves.append("open")


@pytest.fixture
def tap() -> SlowTap:
    return SlowTap()


@pytest.fixture
def worker(site: Site, tap: SlowTap) -> Iterator[Serving]:
    found: Any = tap
    made = Serving(site.settings, queues=("cpu",), slots=1, tap=found)
    yield made
    made.close()


def test_of_two_who_look_at_once_the_last_moves_the_tap_last(worker: Serving, tap: SlowTap) -> None:
    full = threading.Thread(target=lambda: worker._pause("the disk is full"))
    full.start()
    assert tap.closing.wait(60)
    worker._pause(None)
    full.join(60)
    assert tap.moves == ["close", "open"]
    assert worker._presence.paused is None


def test_a_pause_is_logged_once_however_its_numbers_change(
    worker: Serving, tap: SlowTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(serving, "log_event", lambda _level, event, **_facts: logged.append(event))
    tap.opening.set()
    looks = itertools.count(1)
    for reason in (*(f"{next(looks)} bytes free" for _ in range(3)), None, None):
        worker._pause(reason)
    assert logged == ["claiming_paused", "claiming"]
    assert tap.moves == ["close", "open"]
    worker._pause("4 bytes free")
    worker._pause("5 bytes free")
    assert worker._presence.paused == "5 bytes free"
