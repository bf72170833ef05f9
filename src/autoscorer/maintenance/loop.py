"""The duties of the service, each done by whichever process holds its lease."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autoscorer.executor.ownership import Owner, this_machine
from autoscorer.store.base import Store
from autoscorer.telemetry.instruments import DUTIES_DONE
from autoscorer.utils.logger import log_event

LEASE_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Duty:
    """Something to be done about every ``every_s`` seconds by one process. It may be done twice at once:
    a process that was asleep does not know that another has taken over.

    Who rings ``bell`` has it done at once, if this process has the duty. ``finish`` ends what ``work``
    began, when the process stops.
    """

    name: str
    every_s: float
    work: Callable[[], object]
    finish: Callable[[], object] = lambda: None
    bell: threading.Event = field(default_factory=threading.Event)


def of_this_machine(name: str) -> str:
    """The name of a duty that each machine has for itself."""
    return f"{name} on {this_machine()}"


class Maintenance:
    """Duties side by side: one that takes long, or hangs, does not keep another from being done."""

    def __init__(self, store: Store, duties: Sequence[Duty], *, holder: str | None = None) -> None:
        self._store = store
        self._duties = tuple(duties)
        self._holder = holder or str(Owner.this_process())

    def run(self, stop: threading.Event) -> None:
        """Do the duties until ``stop`` is set; then leave them to others."""
        threads = [
            threading.Thread(target=self._keep, args=(duty, stop), name=duty.name, daemon=True)
            for duty in self._duties
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        for duty in self._duties:
            duty.bell.set()
        for thread in threads:
            thread.join(duty_grace_s := 10.0)
            if thread.is_alive():
                log_event("WARNING", "duty_left", duty=thread.name, waited_s=duty_grace_s)

    def once(self) -> None:
        """Do every duty that is to be had, now."""
        for duty in self._duties:
            self._do(duty)

    def _keep(self, duty: Duty, stop: threading.Event) -> None:
        while not stop.is_set():
            self._do(duty)
            duty.bell.wait(duty.every_s * random.uniform(0.9, 1.1))  # noqa: S311 - so that processes take turns
            duty.bell.clear()
        self._leave(duty)

    def _do(self, duty: Duty) -> None:
        lease_s, kind = max(LEASE_S, 3 * duty.every_s), duty.name.partition(" on ")[0]
        try:
            if self._store.duties.take(duty.name, holder=self._holder, lease_s=lease_s):
                duty.work()
                DUTIES_DONE.add(duty=kind, outcome="done")
        except BaseException as exc:  # boundary of a task: one fault must not end what recovers from faults
            log_event("ERROR", "duty_failed", error=exc, duty=duty.name)
            DUTIES_DONE.add(duty=kind, outcome="failed")

    def _leave(self, duty: Duty) -> None:
        try:
            duty.finish()
            self._store.duties.leave(duty.name, holder=self._holder)
        except BaseException as exc:  # boundary of a task: its lease runs out by itself
            log_event("WARNING", "duty_not_left", error=exc, duty=duty.name)
