"""From the store to a broker: no more messages than the workers that are there will take, best first."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from autoscorer.store.base import Store
from autoscorer.store.records import Job, Presence
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event

# Long enough for a message on its way, short enough that a lost one is sent again within 45 s.
LOST_AFTER_S = 30.0
SLOTS_KNOWN_S = 1.0  # how long it is believed which workers there are; to ask takes a third of a round


class BrokerLostError(Exception):
    """Raised when the broker does not answer. Nothing is lost by it: the store has the jobs."""


class Broker(Protocol):
    """What carries messages. Each method raises BrokerLostError."""

    def send(self, job: Job) -> None:
        """Send a message that names the job, to the job's queue."""
        ...

    def waiting(self, queue: str) -> int:
        """How many messages of that queue no worker has taken yet."""
        ...


class Releaser:
    """`ring` asks for a round soon, by a thread of its own; `tend` makes one here and now.

    Besides what its workers work on, a queue gets as many messages as they have slots: the broker never
    holds more than twice the slots, and whatever waits longer is ordered anew with each release.
    """

    def __init__(
        self, store: Store, broker: Broker, *, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._elapsed = elapsed
        self._slots: Mapping[str, int] = {}
        self._slots_known_until_s = elapsed()
        self._broker = broker
        self._turn = threading.Lock()
        self._bell = threading.Condition()
        self._rung: set[str] = set()
        self._thread: threading.Thread | None = None
        self._broken = False

    def ring(self, queue: str) -> None:
        """Have the next jobs of ``queue`` released, as soon as that can be. Never waits, never raises."""
        with self._bell:
            self._rung.add(queue)
            self._bell.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="releaser", daemon=True)
                self._thread.start()

    def tend(self) -> None:
        """A round for every queue; then give more time to messages that wait, not to those that are lost."""
        slots = slots_of(self._store.workers.present())
        self.release(slots)
        for queue in slots:
            try:
                messages = self._broker.waiting(queue)
            except BrokerLostError as exc:
                self._note_broken(exc)
                return
            self._store.work.prolong(queue=queue, messages=messages, lost_after_s=LOST_AFTER_S)

    def release(self, slots: Mapping[str, int], *, at_least: Callable[[int], int] = lambda _slots: 1) -> None:
        """Hand out what ``slots`` allow, when that is ``at_least`` so many. Raises AutoscorerError for
        faults of the store."""
        with self._turn:
            for queue, number in slots.items():
                if not self._is_answering(queue):
                    return
                released = self._store.work.release(
                    queues=[queue], at_most=number, lost_after_s=LOST_AFTER_S, at_least=at_least(number)
                )
                self._send(released)

    def _known_slots(self, queues: Collection[str]) -> Mapping[str, int]:
        """As they were up to `SLOTS_KNOWN_S` ago, if all of ``queues`` had some."""
        if self._elapsed() >= self._slots_known_until_s or not self._slots.keys() >= set(queues):
            self._slots = slots_of(self._store.workers.present())
            self._slots_known_until_s = self._elapsed() + SLOTS_KNOWN_S
        return self._slots

    def _is_answering(self, queue: str) -> bool:
        """After a failure ask first: what is released and cannot be sent has to lapse."""
        if self._broken:
            try:
                self._broker.waiting(queue)
            except BrokerLostError:
                return False
            self._broken = False
            log_event("INFO", "broker_back")
        return True

    def _send(self, released: Iterable[Job]) -> None:
        for job in released:
            try:
                self._broker.send(job)
            except BrokerLostError as exc:
                self._note_broken(exc)
                return

    def _note_broken(self, exc: BrokerLostError) -> None:
        if not self._broken:
            log_event("WARNING", "broker_lost", reason=str(exc))
        self._broken = True

    def _listen(self) -> None:
        while True:
            with self._bell:
                self._bell.wait_for(lambda: self._rung)
                rung, self._rung = self._rung, set()
            try:
                slots = self._known_slots(rung)
                self.release({queue: slots[queue] for queue in rung if queue in slots}, at_least=most_of)
            except AutoscorerError as exc:
                log_event("WARNING", "release_failed", code=exc.code, reason=exc.message)
            except BaseException as exc:  # boundary of a task: the next round may do better
                log_event("ERROR", "release_failed", error=exc)


def most_of(slots: int) -> int:
    """More than half: a round at each claim costs the worker as much as the claim. Whoever claims the last
    message has work to do while the next ones come; `Releaser.tend` fills up what is missing."""
    return slots // 2 + 1


def slots_of(present: Iterable[Presence]) -> Mapping[str, int]:
    """How many jobs of each queue could run at once; a worker that is paused counts for nothing."""
    slots: Counter[str] = Counter()
    for presence in present:
        if presence.paused is None:
            slots.update(dict.fromkeys(presence.queues, presence.slots))
    return slots
