"""One attempt's pod watched until its program starts, then to its end; the times of each told apart."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from autoscorer.executor.base import StopReason
from autoscorer.executor.k8s.client import Cluster, RefusedError, UnreachableError
from autoscorer.executor.k8s.jobs import events_of, refusals, remove_pod
from autoscorer.executor.k8s.pod_facts import PodFacts, read_pod
from autoscorer.executor.k8s.verdicts import Means, Verdict, judge, refused_for_good, unstarted
from autoscorer.executor.k8s.watch import PodWatch
from autoscorer.executor.streaming.transfer import StoppedError
from autoscorer.utils.errors import AutoscorerError

TICK_S = 0.1
ASK_WHY_S = 2.0
LATENESS_S = 1.5  # a kubelet tells of an end up to a second later
SILENCE_S = 300.0  # a control plane that is upgraded ends no program
REFUSED_S = 5.0

Check = Callable[[], StopReason | None]
BringIn = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class PodEnd:
    """How a pod ended, or why we ended it. ``facts`` are the last that were seen."""

    facts: PodFacts
    verdict: Verdict | None = None
    stopped: StopReason | None = None


@dataclass
class Times:
    """When a pod came from one phase into the next, on our clock."""

    created_at: float = field(default_factory=time.monotonic)
    scheduled_at: float | None = None
    staged_at: float | None = None
    started_at: float | None = None

    def seconds(self) -> dict[str, float]:
        """How long each took; what has not been reached is left out."""
        marks = [self.created_at, self.scheduled_at, self.staged_at, self.started_at]
        names = ("scheduling_seconds", "staging_seconds", "starting_seconds")
        pairs = zip(names, itertools.pairwise(marks), strict=True)
        return {name: round(b - a, 3) for name, (a, b) in pairs if a is not None and b is not None}


class Vigil:
    """Every call of the cluster is bounded; what it does not answer is no reason to end a program."""

    def __init__(
        self,
        cluster: Cluster,
        watch: PodWatch,
        *,
        name: str,
        start_timeout_s: float,
        time_limit_s: float,
        is_staged: bool,
        is_enclosed: bool = False,
        silence_s: float = SILENCE_S,
    ) -> None:
        """``is_staged``: its data are where the pod finds them, or may be; ``is_enclosed``: they are in the
        Job, and its sidecar unpacks them. Of both nobody has to bring them in.
        """
        self._cluster = cluster
        self._watch = watch
        self._name = name
        self._start_timeout_s = start_timeout_s
        self._time_limit_s = time_limit_s
        self._silence_s = silence_s
        self._uid: str | None = None
        self._job_uid: str | None = None
        self._staged = is_staged
        self._enclosed = is_enclosed
        self._unheard_since: float | None = None
        self._doubts_since: dict[Verdict, float] = {}
        self._asked_why_at = time.monotonic()
        self._removed: set[str] = set()
        self._next_try_at = 0.0
        self._last: Mapping[str, Any] = {}
        self.times = Times()
        self.pod_name = ""

    @property
    def pod(self) -> Mapping[str, Any]:
        """The pod as it was seen last; empty if it never was."""
        return self._watch.pods.get(self._uid or "", self._last)

    def until_started(self, stop: Check, *, bring_in: BringIn) -> PodEnd | None:
        """None when the program runs or has run. ``bring_in`` gets the pod's name when it can take data.

        Raises AutoscorerError: RESOURCE_UNAVAILABLE when it does not start in time, what an image is refused
        for, EXEC_ERROR.
        """
        give_up_at = time.monotonic() + self._start_timeout_s
        while True:
            end = self._look(stop)
            if end is not None and not (end.verdict and end.verdict.means is Means.EXITED):
                return end
            facts = self._facts()
            now = time.monotonic()
            if facts is not None and facts.scheduled:
                self.times.scheduled_at = self.times.scheduled_at or now
            # A sidecar without an image holds no other container up: what began then had no data.
            if facts is not None and facts.began and "waiting" not in facts.sidecar:
                self._note_start(facts)
                return None
            # While its hook waits for the data, a kubelet says nothing of the sidecar: it is tried.
            if facts is not None and facts.scheduled and self._is_awaited and now >= self._next_try_at:
                self._next_try_at = now + min(1.0, (now - (self.times.scheduled_at or now)) / 8)
                stopped = self._stage(facts, bring_in)
                if stopped is not None:
                    return stopped
            if facts is None or not facts.scheduled:
                self._ask_why(facts)
            if now > give_up_at:
                raise to_error(unstarted(facts, refusals(self._cluster, self._name)))
            self._watch.changed(TICK_S)

    def until_ended(self, checks: Sequence[Check]) -> PodEnd:
        """``checks`` are asked several times a second; the first reason one gives ends the watch."""
        deadline = (self.times.started_at or time.monotonic()) + self._time_limit_s + LATENESS_S
        while True:
            end = self._look(*checks)
            if end is not None:
                return end
            if time.monotonic() >= deadline and self._is_late():
                return PodEnd(facts=self._facts() or PodFacts(), stopped=StopReason.TIME_LIMIT)
            self._watch.changed(TICK_S)

    def until_gone(self, *, within_s: float) -> PodFacts:
        """After we have ended it: until its program is known to be over; what was seen last."""
        deadline = time.monotonic() + within_s
        facts = self._facts()
        while facts is not None and facts.running and time.monotonic() < deadline:
            self._watch.changed(TICK_S)
            self._watch.poll()
            facts = self._facts()
        return facts or PodFacts(gone=True)

    def _look(self, *checks: Check) -> PodEnd | None:
        self._watch.poll()
        facts = self._facts() if self._uid or self._pin() else None
        if facts is None and self._uid:
            facts = PodFacts(gone=True)
        verdict = self._settled(judge(facts)) if facts else None
        if facts and verdict:
            return PodEnd(facts=facts, verdict=verdict)
        reason = next((found for check in checks if (found := check()) is not None), None)
        if reason is not None:
            return PodEnd(facts=facts or PodFacts(), stopped=reason)
        if why := self._is_out_of_sight(facts):
            return PodEnd(facts=facts or PodFacts(), verdict=Verdict(means=Means.GAP, text=why))
        return None

    def _is_out_of_sight(self, facts: PodFacts | None) -> str:
        """What has not answered for too long; empty if nothing has."""
        now = time.monotonic()
        unheard = facts is not None and facts.unheard
        self._unheard_since = (self._unheard_since or now) if unheard else None
        for since, who in (
            (self._watch.silent_since, "the cluster"),
            (self._unheard_since, "the pod's node"),
        ):
            if since is not None and now - since > self._silence_s:
                return f"{who} does not answer"
        return ""

    def _settled(self, verdict: Verdict | None) -> Verdict | None:
        """A verdict that is final; one that may pass is, once it has lasted."""
        if verdict is None:
            self._doubts_since.clear()
            return None
        key = Verdict(**{**verdict.__dict__, "text": ""})
        since = self._doubts_since.setdefault(key, time.monotonic())
        return verdict if time.monotonic() - since >= verdict.after_s else None

    def _pin(self) -> bool:
        """Choose the attempt's pod: the first that was made. Whether there is one."""
        pods = [pod for pod in self._watch.pods.values() if "deletionTimestamp" not in pod["metadata"]]
        if not pods:
            return False
        first = min(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        self._uid, self.pod_name = first["metadata"]["uid"], first["metadata"]["name"]
        self._job_uid = _job_uid(first)
        return True

    def _facts(self) -> PodFacts | None:
        """Of our pod; a further one of its Job is removed on sight. Those of a later Job are another's."""
        if self._uid is None:
            return None
        pods = self._watch.pods
        for uid, pod in pods.items():
            if uid != self._uid and uid not in self._removed and _job_uid(pod) == self._job_uid:
                self._remove_further(pod)
        mine = pods.get(self._uid)
        if mine is None:
            return None
        self._last = mine
        facts = read_pod(mine, staged=self._staged)
        # A sidecar that could not unpack them does not live; the program is tried all the same.
        return replace(facts, staged=True) if self._enclosed and "running" in facts.sidecar else facts

    @property
    def _is_awaited(self) -> bool:
        """Whether the pod waits for its data until we bring them."""
        return not self._staged and not self._enclosed

    def _remove_further(self, pod: Mapping[str, Any]) -> None:
        try:
            remove_pod(self._cluster, pod)
        except (RefusedError, UnreachableError):
            return
        self._removed.add(pod["metadata"]["uid"])

    def _note_start(self, facts: PodFacts) -> None:
        self._staged = True
        self.times.started_at = time.monotonic() - _running_for_s(facts)

    def _stage(self, facts: PodFacts, bring_in: BringIn) -> PodEnd | None:
        try:
            bring_in(self.pod_name)
        except StoppedError as exc:
            return PodEnd(facts=facts, stopped=exc.reason)
        except (RefusedError, UnreachableError):
            return None  # next time, until the time to start is over
        self._staged = True
        self.times.staged_at = time.monotonic()
        return None

    def _ask_why(self, facts: PodFacts | None) -> None:
        """Raise when the cluster says that it will never make a pod for this Job, or a volume."""
        now = time.monotonic()
        if now - self._asked_why_at < ASK_WHY_S:
            return
        self._asked_why_at = now
        said = refusals(self._cluster, self._name)
        if said and refused_for_good(said[-1]) and now - self.times.created_at > REFUSED_S:
            raise to_error(unstarted(facts, said))

    def _is_late(self) -> bool:
        """Only a program that is seen running after its deadline is late: cluster or node may be away."""
        self._watch.poll(now=True)
        facts = self._facts()
        is_seen = self._watch.silent_since is None and facts is not None and not facts.unheard
        return is_seen and facts is not None and facts.ended is None

    def pull_seconds(self) -> float | None:
        """How long the node pulled the program's image, in whole seconds; None if it did not."""
        began: datetime | None = None
        for row in events_of(self._cluster, self.pod_name):
            of_main = "{main}" in str((row.get("involvedObject") or {}).get("fieldPath", ""))
            at = _time(row.get("firstTimestamp") or row.get("eventTime"))
            if of_main and row.get("reason") == "Pulling":
                began = at
            if of_main and row.get("reason") == "Pulled" and began and at:
                return (at - began).total_seconds()
        return None


def to_error(verdict: Verdict) -> AutoscorerError:
    """The error a verdict of that kind is."""
    message = f"{_MESSAGES.get(verdict.code, 'The cluster could not run the job')}: {verdict.text}"
    return AutoscorerError(verdict.code, message, {"cluster": verdict.text}, cause=verdict.cause)


_MESSAGES = {
    "RESOURCE_UNAVAILABLE": "The cluster has no room for the job, or cannot start it",
    "IMAGE_PULL_FAILED": "The image could not be pulled",
    "IMAGE_NOT_PRESENT": "The image is not on the node",
    "IMAGE_INVALID": "The image cannot be run",
    "CONTAINER_CREATE_FAILED": "The container could not be made",
    "OUTPUT_INVALID": "The output cannot be taken",
}


def duration_s(facts: PodFacts, times: Times) -> float:
    """How long the program ran: what the kubelet says, in whole seconds, and never longer than we saw."""
    seen = time.monotonic() - (times.started_at or time.monotonic())
    ended = facts.ended or {}
    started, finished = _time(ended.get("startedAt")), _time(ended.get("finishedAt"))
    if started and finished:
        return max(0.0, (finished - started).total_seconds())
    return round(max(0.0, seen), 3)


def _job_uid(pod: Mapping[str, Any]) -> str | None:
    owners = pod["metadata"].get("ownerReferences") or ()
    return next((str(row["uid"]) for row in owners if row.get("controller")), None)


def _running_for_s(facts: PodFacts) -> float:
    """For how long it had run when it was first seen: a controller that came back was not there."""
    state = facts.main.get("running") or facts.ended or {}
    began = _time(state.get("startedAt"))
    return max(0.0, (datetime.now(UTC) - began).total_seconds() - LATENESS_S) if began else 0.0


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
