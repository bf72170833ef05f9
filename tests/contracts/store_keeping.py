"""The store's contract: the outbox, scorers, organisations, tokens, duties, workers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from autoscorer.access.tokens import make_token
from autoscorer.store.base import Store
from autoscorer.store.clock import Instant
from autoscorer.store.leases import lease_of
from autoscorer.store.moves import Change
from autoscorer.store.records import (
    CallbackState,
    JobQuery,
    Presence,
    Role,
    StoredToken,
)
from autoscorer.store.transitions import JobState
from autoscorer.utils.errors import AutoscorerError
from tests.contracts.store_cases import EXIT_3, HOOK, SCORE, StoreCase, new_job
from tests.store.clocks import MovableClock


class Keeping(StoreCase):
    def test_each_end_of_a_job_puts_one_callback_into_the_outbox(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        for number, ending in enumerate(["succeed", "fail", "cancel"]):
            store.jobs.submit(new_job(acme, number, callback_url=HOOK))
            self.end(store, lease_of(self.claimed(store)), ending, clock)
        store.jobs.submit(new_job(acme, 9))
        self.end(store, lease_of(self.claimed(store)), "succeed", clock)  # nobody wants to hear of this one
        told = [(c.job_state, (c.error or {}).get("code"), c.url) for c in store.callbacks.list()]
        assert told[::-1] == [
            (JobState.SUCCEEDED, None, HOOK),
            (JobState.FAILED, "CONTAINER_EXIT_NONZERO", HOOK),
            (JobState.CANCELLED, "CANCELLED", HOOK),
        ]

    def test_a_callback_is_tried_until_it_is_delivered(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        self.with_callback(store, acme)
        first = store.callbacks.claim(worker="w")
        assert first is not None
        assert store.callbacks.claim(worker="other") is None
        assert store.callbacks.failed(first, message="HTTP\x00500", retry_in_s=60)
        assert store.callbacks.claim(worker="w") is None
        clock.forward(60)
        second = store.callbacks.claim(worker="w")
        assert second is not None
        assert (second.tries, second.last_error) == (2, "HTTP 500")
        assert store.callbacks.delivered(second)
        clock.forward(10_000)
        assert store.callbacks.claim(worker="w") is None
        assert [c.callback_id for c in store.callbacks.list(state=CallbackState.DELIVERED)] == [
            first.callback_id
        ]

    def test_a_callback_whose_sender_died_is_claimed_again_and_the_dead_one_is_not_heard(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        self.with_callback(store, acme)
        stale = store.callbacks.claim(worker="w")
        clock.forward(30)
        assert store.callbacks.claim(worker="other") is not None
        assert stale is not None
        assert not store.callbacks.failed(stale, message="late", retry_in_s=None)
        assert not store.callbacks.delivered(stale)

    def test_receivers_and_organisations_that_have_enough_can_be_left_out_of_a_claim(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        other = store.access.add_organisation("other").organisation_id
        urls = ["https://A.example:8443/x?to=b.example", "https://a.example:8443", "http://b.example/"]
        for number, (owner, url) in enumerate([(acme, urls[0]), (acme, urls[1]), (other, urls[2])]):
            job = store.jobs.submit(new_job(owner, number, callback_url=url)).job
            store.jobs.cancel(job.task_id, by="ada")
            clock.forward(1)
        assert store.callbacks.claim(worker="w", not_to=["a.example:8443", "b.example"]) is None
        assert store.callbacks.claim(worker="w", not_of=[acme, other]) is None
        assert store.callbacks.claim(worker="w", not_to=["b.example"], not_of=[acme]) is None
        claimed = [
            store.callbacks.claim(worker="w", not_to=["a.example:8443"]),
            store.callbacks.claim(worker="w", not_of=[other]),
            store.callbacks.claim(worker="w", not_to=["a.example"], not_of=["nobody"]),
        ]
        assert [one.url for one in claimed if one] == [urls[2], urls[0], urls[1]]
        assert {one.receiver for one in claimed if one} == {"a.example:8443", "b.example"}

    def test_a_dead_letter_is_visible_and_can_be_sent_again(self, store: Store, acme: str) -> None:
        self.with_callback(store, acme)
        claimed = store.callbacks.claim(worker="w")
        assert claimed is not None
        store.callbacks.failed(claimed, message="gone", retry_in_s=None)
        (dead,) = store.callbacks.list(organisation_id=acme, state=CallbackState.DEAD)
        assert dead.last_error == "gone"
        assert store.callbacks.list(organisation_id="another") == ()
        assert store.callbacks.get(dead.callback_id) == dead
        assert store.callbacks.get(dead.task_id) is None
        assert store.callbacks.claim(worker="w") is None
        resent = store.callbacks.resend(dead.callback_id)
        assert resent is not None
        assert resent.state is CallbackState.PENDING
        assert store.callbacks.claim(worker="w") is not None
        assert store.callbacks.resend("nothing") is None

    def test_a_message_that_is_sent_again_has_a_new_series_of_tries(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        self.with_callback(store, acme)
        for _ in range(3):
            claimed = store.callbacks.claim(worker="w")
            assert claimed is not None
            assert store.callbacks.failed(claimed, message="away", retry_in_s=1)
            clock.forward(2)
        assert claimed is not None
        assert claimed.tries_of_series == 3, "control: by itself the series goes on"
        resent = store.callbacks.resend(claimed.callback_id)
        assert resent is not None
        assert (resent.tries, resent.tries_of_series) == (3, 0)
        again = store.callbacks.claim(worker="w")
        assert again is not None
        assert (again.tries, again.tries_of_series) == (4, 1)
        assert store.callbacks.get(claimed.callback_id) == again

    @pytest.mark.parametrize("retry_in_s", [None, 86400])
    def test_who_was_sending_a_message_when_it_was_sent_again_is_not_heard(
        self, store: Store, acme: str, retry_in_s: float | None
    ) -> None:
        self.with_callback(store, acme)
        stale = store.callbacks.claim(worker="w")
        assert stale is not None
        store.callbacks.resend(stale.callback_id)
        assert not store.callbacks.failed(stale, message="late", retry_in_s=retry_in_s)
        assert not store.callbacks.delivered(stale)
        assert store.callbacks.claim(worker="w") is not None, "it is still due now"

    def test_one_content_of_a_scorer_is_active_and_the_former_can_be_found(self, store: Store) -> None:
        for sha256 in ("aa", "bb"):
            store.scorers.activate(name="f2", sha256=sha256, version="1", card={"x": 1}, loaded_by="ada")
        store.scorers.activate(name="acc", sha256="cc", version="1", card={}, loaded_by="ada")
        assert [(s.name, s.sha256) for s in store.scorers.active()] == [("acc", "cc"), ("f2", "bb")]
        former = store.scorers.find("f2", sha256="aa")
        assert former is not None
        assert not former.active
        store.scorers.activate(name="f2", sha256="aa", version="1", card={"x": 2}, loaded_by="bob")
        now = store.scorers.find("f2")
        assert now is not None
        assert (now.sha256, now.card, now.loaded_by) == ("aa", {"x": 2}, "bob")
        assert store.scorers.find("f3") is None

    def test_an_organisations_name_is_unique(self, store: Store, acme: str) -> None:
        with pytest.raises(AutoscorerError) as caught:
            store.access.add_organisation("acme")
        assert (caught.value.code, caught.value.cause) == ("CONFLICT", "name")
        found = store.access.organisation("acme")
        assert found is not None
        assert found.organisation_id == acme
        assert store.access.organisation("nobody") is None
        assert [o.name for o in store.access.organisations()] == ["acme"]

    def test_a_token_is_found_by_its_hash_and_revoked_once(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        token = StoredToken(
            token_id="t1",
            organisation_id=acme,
            subject="ada",
            role=Role.ORGANISER,
            prefix="as_abc",
            secret_sha256="a" * 64,
            created_at=clock().at,
            expires_at=clock().at,
        )
        store.access.add_token(token)
        assert store.access.token_by_hash("a" * 64) == token
        assert store.access.token_by_hash("b" * 64) is None
        first = store.access.revoke("t1")
        clock.forward(60)
        assert store.access.revoke("t1") == first
        assert store.access.tokens(acme) == (first,)
        assert store.access.revoke("t2") is None

    def test_a_token_of_an_organisation_that_does_not_exist_is_refused(
        self, store: Store, clock: MovableClock
    ) -> None:
        made = make_token(organisation_id="nobody", subject="ada", role=Role.VIEWER, now=clock().at)
        with pytest.raises(AutoscorerError) as caught:
            store.access.add_token(made.stored)
        assert caught.value.code == "NOT_FOUND"
        assert store.access.tokens("nobody") == ()

    def test_a_duty_has_one_holder_at_a_time(self, store: Store, clock: MovableClock) -> None:
        assert store.duties.take("maintenance", holder="a")
        assert not store.duties.take("maintenance", holder="b")
        clock.forward(20)
        assert store.duties.take("maintenance", holder="a")
        clock.forward(20)
        assert not store.duties.take("maintenance", holder="b")
        clock.forward(10)
        assert store.duties.take("maintenance", holder="b")
        store.duties.leave("maintenance", holder="a")
        assert not store.duties.take("maintenance", holder="a")
        store.duties.leave("maintenance", holder="b")
        assert store.duties.take("maintenance", holder="a")

    def test_jobs_that_ended_long_ago_are_removed_with_all_that_belongs_to_them(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        for number in range(4):
            store.jobs.submit(new_job(acme, number, callback_url=HOOK))
            if number < 3:  # the fourth has not ended
                self.end(store, lease_of(self.claimed(store)), "succeed", clock)
                delivered = store.callbacks.claim(worker="w")
                assert delivered is not None
                store.callbacks.delivered(delivered)
            clock.forward(60)
        long_ago = clock().at - timedelta(seconds=121)
        removed = store.jobs.remove_ended(before=long_ago)
        assert [job.job_id for job in removed] == ["job-0", "job-1"]
        assert store.jobs.remove_ended(before=long_ago) == ()
        for job in removed:
            assert store.jobs.get(job.task_id) is None
            assert not store.jobs.events(job.task_id)
            assert not store.jobs.attempts(job.task_id)
            assert store.jobs.result(job.task_id) is None
        assert len(store.callbacks.list()) == 1
        assert [job.job_id for job in store.jobs.page(JobQuery()).jobs] == ["job-3", "job-2"]
        newest = store.jobs.submit(new_job(acme, 9)).job
        assert newest.seq == 5  # no number is given twice
        assert len(store.jobs.remove_ended(before=clock().at, limit=1)) == 1

    def test_jobs_are_removed_by_how_they_ended(self, store: Store, acme: str, clock: MovableClock) -> None:
        for number, ending in enumerate(["succeed", "fail", "cancel"]):
            store.jobs.submit(new_job(acme, number))
            self.end(store, lease_of(self.claimed(store)), ending, clock)
        clock.forward(60)

        def removed(*states: JobState) -> list[str]:
            return [job.job_id for job in store.jobs.remove_ended(before=clock().at, states=states)]

        assert removed(JobState.RUNNING) == []
        assert removed(JobState.SUCCEEDED) == ["job-0"]
        assert sorted(removed(JobState.FAILED, JobState.CANCELLED)) == ["job-1", "job-2"]

    def test_a_job_stays_until_its_end_was_told_or_given_up(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        self.with_callback(store, acme)
        clock.forward(60)
        assert store.jobs.remove_ended(before=clock().at) == ()
        claimed = store.callbacks.claim(worker="w")
        assert claimed is not None
        assert store.jobs.remove_ended(before=clock().at) == ()
        store.callbacks.failed(claimed, message="gone", retry_in_s=None)
        assert len(store.jobs.remove_ended(before=clock().at)) == 1
        assert store.callbacks.list() == ()

    def test_a_scorers_version_is_pinned_while_a_job_may_still_be_scored_with_it(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        pins = [f"mine@{number}" for number in range(6)]
        for number, ending in enumerate(["succeed", "fail", "cancel", "running", "queued"]):
            job = store.jobs.submit(new_job(acme, number, scorer=pins[number])).job
            if ending == "running":
                self.claimed(store)
            elif ending != "queued":
                self.end(store, lease_of(self.claimed(store)), ending, clock)
        assert store.jobs.pinned(pins) == set(pins[1:5])
        assert store.jobs.pinned(["mine", pins[4], "other@4"]) == {pins[4]}
        assert store.jobs.pinned([]) == set()
        store.jobs.cancel(job.task_id, by="ada")
        clock.forward(60)
        store.jobs.remove_ended(before=clock().at)
        assert store.jobs.pinned(pins) == {pins[3]}

    def test_it_answers_and_tells_its_time(self, store: Store, clock: MovableClock) -> None:
        store.check()
        assert store.now() == clock()

    def test_undelivered_callbacks_are_counted(self, store: Store, acme: str) -> None:
        assert dict(store.callbacks.counts()) == {}
        for number in range(4):
            job = store.jobs.submit(new_job(acme, number, callback_url=HOOK)).job
            store.jobs.cancel(job.task_id, by="ada")
        for retry_in_s in (None, 60.0):
            claimed = store.callbacks.claim(worker="w")
            assert claimed is not None
            store.callbacks.failed(claimed, message="HTTP 500", retry_in_s=retry_in_s)
        claimed = store.callbacks.claim(worker="w")
        assert claimed is not None
        store.callbacks.delivered(claimed)
        assert dict(store.callbacks.counts()) == {CallbackState.PENDING: 2, CallbackState.DEAD: 1}

    def test_the_oldest_wait_begins_when_a_job_came_to_wait_and_not_when_it_was_made(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        assert store.jobs.waiting_since() is None
        store.jobs.submit(new_job(acme, 1))
        submitted_at = store.now().at
        clock.forward(100)
        store.jobs.submit(new_job(acme, 2))
        assert store.jobs.waiting_since() == submitted_at
        first = self.claimed(store)
        assert store.jobs.waiting_since() == store.now().at  # that of the second
        clock.forward(10)
        store.work.fail(lease_of(first), error=EXIT_3)
        store.jobs.retry(first.task_id, by="ada")
        assert store.jobs.waiting_since() == store.now().at  # again the first, but only since now

    def test_every_change_is_told_once_after_it_is_kept(
        self, store: Store, acme: str, clock: MovableClock
    ) -> None:
        heard: list[tuple[str, str]] = []

        def hear(change: Change, now: Instant) -> None:
            kept = store.jobs.get(change.job.task_id)
            assert kept is not None
            heard.append((change.event, kept.state))
            raise ValueError("one who cannot bear to hear it changes nothing")

        store.on_change(hear)
        store.jobs.submit(new_job(acme, 1))
        store.jobs.submit(new_job(acme, 1))  # stands already: no change
        first = lease_of(self.claimed(store))
        store.work.succeed(first, result=SCORE)
        store.work.succeed(first, result=SCORE)  # a repetition: no change
        store.jobs.submit(new_job(acme, 2))
        self.end(store, lease_of(self.claimed(store)), "lapse", clock)
        store.jobs.cancel(store.jobs.page(JobQuery(limit=1)).jobs[0].task_id, by="ada")
        assert heard == [
            ("job_submitted", "queued"),
            ("job_claimed", "running"),
            ("job_succeeded", "succeeded"),
            ("job_submitted", "queued"),
            ("job_claimed", "running"),
            ("job_requeued", "queued"),
            ("job_cancelled", "cancelled"),
        ]

    def test_workers_are_present_while_they_say_so(self, store: Store, clock: MovableClock) -> None:
        one = Presence(worker_id="w1", machine="m", queues=("cpu", "score"), slots=2)
        other = Presence(worker_id="w2", machine="m", queues=("gpu",), slots=1, paused="disk")
        store.workers.report(other, lease_s=30)
        store.workers.report(one, lease_s=30)
        assert store.workers.present() == (one, other)
        clock.forward(20)
        resumed = Presence(worker_id="w2", machine="m", queues=("gpu",), slots=1)
        store.workers.report(resumed, lease_s=30)
        assert store.workers.present() == (one, resumed)
        clock.forward(20)
        assert store.workers.present() == (resumed,)
        for _ in range(2):
            store.workers.leave("w2")
        assert store.workers.present() == ()
