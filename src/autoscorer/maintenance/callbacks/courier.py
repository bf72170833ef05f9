"""Messages on their way, side by side: a receiver that hangs holds up its own messages and no others."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable

from autoscorer.maintenance.callbacks.verdicts import Answer, judge
from autoscorer.store.base import Store
from autoscorer.store.records import Callback
from autoscorer.telemetry.instruments import CALLBACKS_SENT
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event

SLOTS = 16
SLOTS_A_RECEIVER = 2
SLOTS_AN_ORGANISATION = 8  # names of one's own cost nothing: many receivers must not take every slot
GRACE_S = 5.0


class Courier:
    """Delivers what is due in threads of its own; `stop` it in the end.

    ``deliver`` sends one message; None when there is nothing to tell any more. Whoever is killed between
    sending and writing down leaves a claim that lapses after ``lease_s``: the message is sent again.
    """

    def __init__(
        self, store: Store, deliver: Callable[[Callback], Answer | None], *, worker: str, lease_s: float
    ) -> None:
        self._store = store
        self._deliver = deliver
        self._worker = worker
        self._lease_s = lease_s
        self._changed = threading.Condition()
        self._under_way: list[Callback] = []
        self._stopping = False

    def deliver_due(self) -> int:
        """Start on what is due as far as there is room, and wait for none of it; how many were started."""
        started = 0
        while (claimed := self._claim()) is not None:
            name = f"callback {claimed.callback_id}"
            threading.Thread(target=self._keep_delivering, args=(claimed,), name=name, daemon=True).start()
            started += 1
        return started

    def stop(self, grace_s: float = GRACE_S) -> bool:
        """Start on nothing more; whether all that was under way ended within the grace."""
        with self._changed:
            self._stopping = True
        return self.wait(grace_s)

    def wait(self, within_s: float) -> bool:
        """Whether nothing was under way any more within that time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._under_way, within_s)

    def _claim(self) -> Callback | None:
        with self._changed:
            if self._stopping or len(self._under_way) >= SLOTS:
                return None
            claimed = self._store.callbacks.claim(
                worker=self._worker,
                lease_s=self._lease_s,
                not_to=_full((one.receiver for one in self._under_way), SLOTS_A_RECEIVER),
                not_of=_full((one.organisation_id for one in self._under_way), SLOTS_AN_ORGANISATION),
            )
            if claimed is not None:
                self._under_way.append(claimed)
            return claimed

    def _keep_delivering(self, claimed: Callback | None) -> None:
        while claimed is not None:
            try:
                self._attempt(claimed)
            except BaseException as exc:  # boundary of a task: its claim lapses, and it is sent again
                log_event("ERROR", "callback_error", error=exc, callback_id=claimed.callback_id)
            finally:
                with self._changed:
                    self._under_way.remove(claimed)
                    self._changed.notify_all()
            claimed = self._next()

    def _next(self) -> Callback | None:
        try:
            return self._claim()
        except AutoscorerError as exc:  # the store is away; the duty comes back to it
            log_event("WARNING", "callbacks_not_claimed", code=exc.code)
            return None

    def _attempt(self, claimed: Callback) -> None:
        answer = self._deliver(claimed)
        if answer is None:
            return
        verdict = judge(answer, tries=claimed.tries_of_series, now=self._store.now().at)
        if verdict.delivered:
            self._store.callbacks.delivered(claimed)
            CALLBACKS_SENT.add(outcome="delivered")
            _log("INFO", "callback_delivered", claimed)
            return
        self._store.callbacks.failed(claimed, message=verdict.message, retry_in_s=verdict.retry_in_s)
        is_dead = verdict.retry_in_s is None
        CALLBACKS_SENT.add(outcome="dead" if is_dead else "retried")
        event = "callback_dead" if is_dead else "callback_failed"
        _log("WARNING", event, claimed, reason=verdict.message)


def _log(level: str, event: str, callback: Callback, *, reason: str | None = None) -> None:
    """Not the whole address: its query may hold a secret."""
    log_event(
        level,
        event,
        callback_id=callback.callback_id,
        task_id=callback.task_id,
        receiver=callback.receiver,
        tries=callback.tries,
        reason=reason,
    )


def _full(taken: Iterable[str], at_most: int) -> frozenset[str]:
    return frozenset(name for name, count in Counter(taken).items() if count >= at_most)
