"""The duty that empties the outbox, and how its parts hang together."""

from __future__ import annotations

from autoscorer import __version__
from autoscorer.executor.ownership import Owner
from autoscorer.maintenance.callbacks.courier import Courier
from autoscorer.maintenance.callbacks.messages import message_of
from autoscorer.maintenance.callbacks.secret import secrets_of
from autoscorer.maintenance.callbacks.sending import Sender
from autoscorer.maintenance.callbacks.signing import keys_of, signed_headers
from autoscorer.maintenance.callbacks.verdicts import Answer
from autoscorer.maintenance.loop import Duty
from autoscorer.store.base import Store
from autoscorer.store.records import Callback
from autoscorer.utils.config import Settings

EVERY_S = 2.0
_MARGIN_S = 30.0  # a claim outlasts the longest delivery by this much


class Deliveries:
    """Writes, signs and sends messages of ``store``."""

    def __init__(self, settings: Settings, store: Store, sender: Sender) -> None:
        self._settings = settings
        self._store = store
        self._sender = sender

    def deliver(self, callback: Callback) -> Answer | None:
        """Send one message; None when its job has been removed meanwhile."""
        body = self._body(callback)
        if body is None:
            return None
        sent_at_s = int(self._store.now().at.timestamp())
        keys = self.keys(callback.organisation_id)
        headers = signed_headers(callback.callback_id, body, keys, sent_at_s=sent_at_s)
        return self._sender.send(callback.url, headers, body)

    def keys(self, organisation_id: str) -> tuple[bytes, ...]:
        """What an organisation's messages are signed with. Raises CONFIG_VALIDATION_ERROR."""
        return keys_of(secrets_of(organisation_id, self._settings.callback_secrets, self._settings.data_dir))

    def _body(self, callback: Callback) -> bytes | None:
        job = self._store.jobs.get(callback.task_id)
        if job is None:
            return None
        result = self._store.jobs.result(callback.task_id)
        return message_of(
            callback,
            job,
            result.body if result and result.is_of(callback.job_state, callback.attempt) else None,
            self._store.jobs.attempts(callback.task_id),
            version=__version__,
            public_url=self._settings.public_url,
            may_show_truth=self._settings.show_truth_to_participants,
            secrets=self._settings.secrets(),
        )


def callbacks_duty(settings: Settings, store: Store, sender: Sender | None = None) -> Duty:
    """What is due is sent every two seconds, and at once when a job ends in this process.

    Several processes at once do no harm.
    """
    sender = sender or Sender(
        timeout_s=settings.callback_timeout_s, allowed_hosts=settings.callback_allowed_hosts
    )
    deliveries = Deliveries(settings, store, sender)
    courier = Courier(
        store,
        deliveries.deliver,
        worker=str(Owner.this_process()),
        lease_s=settings.callback_timeout_s + _MARGIN_S,
    )

    def work() -> None:
        deliveries.keys("")  # nothing is claimed that could not be signed
        courier.deliver_due()

    duty = Duty(name="callbacks", every_s=EVERY_S, work=work, finish=courier.stop)
    store.on_change(lambda change, _now: duty.bell.set() if change.calls_back else None)
    return duty
