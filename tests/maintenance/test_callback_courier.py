"""Deliveries: at least once, side by side, never lost, whoever dies and whatever a receiver does."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autoscorer.maintenance.callbacks import courier as courier_module
from autoscorer.maintenance.callbacks.courier import Courier
from autoscorer.maintenance.callbacks.duty import callbacks_duty
from autoscorer.maintenance.callbacks.sending import Sender
from autoscorer.maintenance.callbacks.verdicts import Answer
from autoscorer.maintenance.loop import Maintenance
from autoscorer.store.memory_store import MemoryStore
from autoscorer.store.records import Callback, CallbackState
from autoscorer.utils.config import Config, Settings
from autoscorer.utils.errors import AutoscorerError
from tests.contracts.store_cases import new_job
from tests.maintenance.receivers import answering, flooding, hanging, receiving
from tests.maintenance.test_loop import running
from tests.store.clocks import MovableClock
from tests.worker.sites import until

GOOD = Answer(status=204)


def noting(sent: list[str]) -> Callable[[Callback], Answer]:
    """Every message arrives; ``sent`` gets their ids."""

    def deliver(message: Callback) -> Answer:
        sent.append(message.callback_id)
        return GOOD

    return deliver


class Office:
    """A store with messages, and couriers for them."""

    def __init__(self) -> None:
        self.clock = MovableClock()
        self.store = MemoryStore(clock=self.clock)
        self.couriers: list[Courier] = []
        self._jobs = 0

    def organisation(self, name: str = "acme") -> str:
        found = self.store.access.organisation(name) or self.store.access.add_organisation(name)
        return found.organisation_id

    def message(self, url: str = "http://one.example.org/", organisation: str = "acme") -> str:
        """The callback's id of a job that has just ended."""
        self._jobs += 1
        job = self.store.jobs.submit(
            new_job(self.organisation(organisation), self._jobs, callback_url=url)
        ).job
        self.store.jobs.cancel(job.task_id, by="ada")
        return self.store.callbacks.list(limit=1)[0].callback_id

    def courier(self, deliver: Callable[[Callback], Answer | None], *, lease_s: float = 40) -> Courier:
        self.couriers.append(Courier(self.store, deliver, worker="w", lease_s=lease_s))
        return self.couriers[-1]

    def sent(self, courier: Courier) -> None:
        courier.deliver_due()
        assert courier.wait(60)

    def state(self, callback_id: str) -> Callback:
        return next(one for one in self.store.callbacks.list() if one.callback_id == callback_id)


@pytest.fixture
def office() -> Iterator[Office]:
    made = Office()
    yield made
    assert all(courier.stop(60) for courier in made.couriers)


def test_a_message_is_delivered_once(office: Office) -> None:
    first = office.message()
    sent: list[str] = []
    courier = office.courier(noting(sent))
    office.sent(courier)
    office.clock.forward(10_000_000)
    office.sent(courier)
    assert sent == [first]
    assert office.state(first).state is CallbackState.DELIVERED


@pytest.mark.fault("callback receiver down for an hour (moved clock)")
def test_a_receiver_that_is_down_for_an_hour_gets_everything_afterwards(office: Office) -> None:
    ids = {office.message() for _ in range(5)}
    arrived: list[str] = []
    comes_back_at_s = office.clock.elapsed_s + 3600

    def deliver(message: Callback) -> Answer:
        if office.clock.elapsed_s < comes_back_at_s:
            return Answer(problem="nobody listens there: the connection was refused")
        arrived.append(message.callback_id)
        return GOOD

    courier = office.courier(deliver)
    for _ in range(420):  # three and a half hours
        office.sent(courier)
        office.clock.forward(30)
    assert sorted(arrived) == sorted(ids)
    tries = {one.tries for one in office.store.callbacks.list()}
    assert tries == {5}, "at about 0 s, 5 s, 5 min, 35 min and 155 min"
    assert all(one.last_error is None for one in office.store.callbacks.list())


@pytest.mark.fault("callback receiver down for three days (moved clock)")
def test_after_three_days_it_is_a_dead_letter_that_can_be_sent_again(office: Office) -> None:
    callback_id, answers = office.message(), [Answer(status=500)]
    tries: list[int] = []

    def deliver(message: Callback) -> Answer:
        tries.append(message.tries)
        return answers[0]

    courier = office.courier(deliver)
    for _ in range(200):
        office.sent(courier)
        office.clock.forward(3600)
    assert tries == list(range(1, 11))
    (dead,) = office.store.callbacks.list(state=CallbackState.DEAD)
    assert (dead.callback_id, dead.last_error) == (callback_id, "the receiver answered HTTP 500")
    answers[0] = GOOD
    office.sent(courier)
    assert len(tries) == 10, "control: nobody sends it by itself"
    office.store.callbacks.resend(callback_id)
    answers[0] = Answer(status=500)
    office.sent(courier)
    assert office.state(callback_id).state is CallbackState.PENDING, "one failure is not the end of it"
    answers[0] = GOOD
    office.clock.forward(3600)
    office.sent(courier)
    assert office.state(callback_id).state is CallbackState.DELIVERED


def test_who_answers_410_is_not_written_to_again(office: Office) -> None:
    callback_id = office.message()
    office.sent(office.courier(lambda _message: Answer(status=410)))
    assert office.state(callback_id).state is CallbackState.DEAD


class Killed(BaseException):
    """Stands for the death of the process between sending and writing down."""


@pytest.mark.fault("callback sender that dies after sending")
def test_a_sender_that_dies_after_sending_sends_it_again_under_the_same_id(office: Office) -> None:
    callback_id = office.message()
    sent: list[str] = []

    def dies(message: Callback) -> Answer:
        sent.append(message.callback_id)
        raise Killed

    office.sent(office.courier(dies))
    another = office.courier(noting(sent))
    office.sent(another)
    assert sent == [callback_id], "control: as long as the claim holds, nobody else sends it"
    office.clock.forward(41)
    office.sent(another)
    assert sent == [callback_id, callback_id]
    assert office.state(callback_id).state is CallbackState.DELIVERED


def test_a_late_sender_is_not_believed(office: Office) -> None:
    callback_id, release = office.message(), threading.Event()

    def slow(_message: Callback) -> Answer:
        release.wait(60)
        return Answer(status=410)

    courier = office.courier(slow)
    courier.deliver_due()
    office.clock.forward(41)
    office.sent(office.courier(lambda _message: GOOD))
    release.set()
    assert courier.wait(60)
    assert office.state(callback_id).state is CallbackState.DELIVERED


@contextmanager
def held(office: Office) -> Iterator[tuple[Courier, list[Callback], threading.Event]]:
    """A courier whose deliveries to `hang.example.org` and below last until the event."""
    release, begun = threading.Event(), []

    def deliver(message: Callback) -> Answer:
        begun.append(message)
        if "hang" in message.receiver:
            release.wait(60)
        return GOOD

    courier = office.courier(deliver)
    try:
        yield courier, begun, release
    finally:
        release.set()
        assert courier.wait(60)


@pytest.mark.fault("callback receiver that hangs")
def test_a_receiver_that_hangs_holds_up_no_other(office: Office) -> None:
    for _ in range(50):
        office.message("http://hang.example.org/")
    others = {office.message(f"http://other-{number}.example.org/") for number in range(30)}
    with held(office) as (courier, begun, _release):
        courier.deliver_due()
        until(lambda: others <= {one.callback_id for one in begun})
        hanging_now = [one for one in begun if one.callback_id not in others]
        assert len(hanging_now) == courier_module.SLOTS_A_RECEIVER


@pytest.mark.fault("callback receiver that hangs", is_control=True)
def test_without_shares_a_receiver_that_hangs_holds_up_all(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above and the one below."""
    monkeypatch.setattr(courier_module, "SLOTS_A_RECEIVER", 1000)
    monkeypatch.setattr(courier_module, "SLOTS_AN_ORGANISATION", 1000)
    for _ in range(50):
        office.message("http://hang.example.org/")
    office.clock.forward(1)
    other = office.message("http://other.example.org/")
    with held(office) as (courier, begun, _release):
        courier.deliver_due()
        until(lambda: len(begun) == courier_module.SLOTS)
        assert other not in {one.callback_id for one in begun}


def test_an_organisation_with_many_receivers_that_hang_holds_up_no_other(office: Office) -> None:
    for number in range(50):
        office.message(f"http://hang-{number}.example.org/", "rude")
    other = office.message("http://other.example.org/", "polite")
    with held(office) as (courier, begun, _release):
        courier.deliver_due()
        until(lambda: other in {one.callback_id for one in begun})
        assert len(begun) == courier_module.SLOTS_AN_ORGANISATION + 1


def test_when_room_is_made_the_next_are_taken_without_being_asked(office: Office) -> None:
    ids = {office.message() for _ in range(40)}
    sent: list[str] = []
    courier = office.courier(noting(sent))
    courier.deliver_due()
    until(lambda: set(sent) == ids)
    assert len(sent) == 40


@pytest.mark.fault("store away while callbacks are sent")
def test_a_store_that_is_away_loses_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    callback_id = office.message()
    sent: list[str] = []
    courier = office.courier(noting(sent))

    def away(*_args: object, **_kwargs: object) -> bool:
        raise AutoscorerError("STORE_UNAVAILABLE", "away")

    monkeypatch.setattr(office.store.callbacks, "delivered", away)
    office.sent(courier)
    monkeypatch.undo()
    office.clock.forward(41)
    office.sent(courier)
    assert sent == [callback_id, callback_id]
    assert office.state(callback_id).state is CallbackState.DELIVERED


def test_a_courier_that_stops_takes_nothing_more(office: Office) -> None:
    office.message()
    courier = office.courier(lambda _message: GOOD)
    assert courier.stop()
    assert courier.deliver_due() == 0


# The whole of it, over real connections.


def settings(folder: Path, **given: str) -> Settings:
    environ = {"DATA_DIR": str(folder), "CALLBACK_ALLOWED_HOSTS": "127.0.0.1", "CALLBACK_TIMEOUT": "2"}
    return Config(folder / "none.yaml", environ=environ | given).settings


def delivered(office: Office, callback_id: str) -> bool:
    return office.state(callback_id).state is CallbackState.DELIVERED


@pytest.mark.slow
def test_the_duty_delivers_what_jobs_leave_whatever_other_receivers_do(
    office: Office, tmp_path: Path
) -> None:
    with (
        receiving() as good,
        receiving(hanging) as hangs,
        receiving(answering(500)) as fails,
        receiving(flooding(b"HTTP/1.1 500 No\r\n\r\n")) as floods,
        receiving(answering(302, f"Location: {good.url}")) as redirects,
    ):
        bad = {receiver: office.message(receiver.url) for receiver in (hangs, fails, floods, redirects)}
        inside = office.message("http://169.254.169.254/latest")
        ids = {office.message(good.url) for _ in range(10)}
        duty = callbacks_duty(settings(tmp_path), office.store)
        Maintenance(office.store, [duty]).once()
        until(lambda: all(delivered(office, one) for one in ids))
        assert sorted(good.ids) == sorted(ids)
        until(lambda: all(office.state(one).last_error for one in (*bad.values(), inside)))
        duty.finish()
    assert good.arrived[0].json["error"]["code"] == "CANCELLED"
    assert office.state(bad[hangs]).last_error == "no answer within 2 seconds"
    assert office.state(bad[floods]).last_error == "the receiver answered HTTP 500"
    assert "redirects are not followed" in str(office.state(bad[redirects]).last_error)
    assert office.state(inside).last_error == "The callback address leads into an internal network."
    assert floods.sent_bytes < 64 * 2**20


@pytest.mark.slow
def test_the_end_of_a_job_in_this_process_is_told_at_once(office: Office, tmp_path: Path) -> None:
    duty = dataclasses.replace(callbacks_duty(settings(tmp_path), office.store), every_s=3600)
    with receiving() as receiver, running(Maintenance(office.store, [duty])):
        until((tmp_path / "callback_secret").exists)
        callback_id = office.message(receiver.url)
        until(lambda: delivered(office, callback_id), within_s=60)


@pytest.mark.slow
def test_a_receiver_that_comes_back_gets_the_same_message_again(office: Office, tmp_path: Path) -> None:
    duty = callbacks_duty(settings(tmp_path), office.store)
    with receiving(answering(503)) as receiver:
        callback_id = office.message(receiver.url)
        duty.work()
        until(lambda: office.state(callback_id).last_error)
        receiver.script = None
        for _ in range(6):
            office.clock.forward(2)
            duty.work()
        until(lambda: delivered(office, callback_id))
        duty.finish()
    first, second = receiver.arrived
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == callback_id
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]


@pytest.mark.slow
def test_without_a_usable_secret_nothing_is_claimed(office: Office, tmp_path: Path) -> None:
    callback_id = office.message()
    duty = callbacks_duty(settings(tmp_path), office.store, Sender(timeout_s=1, allowed_hosts=[]))
    Maintenance(office.store, [duty]).once()
    assert (tmp_path / "callback_secret").exists(), "it is made before there is anything to send"
    duty.finish()
    (tmp_path / "callback_secret").chmod(0o666)
    callback_id = office.message()
    duty = callbacks_duty(settings(tmp_path), office.store)
    Maintenance(office.store, [duty]).once()
    assert office.state(callback_id).tries == 0
