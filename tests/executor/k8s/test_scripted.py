"""What no cluster does on demand, against a scripted API server: nothing in this file is a real cluster."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import pytest

from autoscorer.executor.base import StopReason
from autoscorer.executor.k8s import jobs as jobs_module
from autoscorer.executor.k8s import waiting
from autoscorer.executor.k8s import watch as watching
from autoscorer.executor.k8s.belongings import claim_manifest, ensure_claim
from autoscorer.executor.k8s.client import Cluster, RefusedError, UnreachableError, cluster_errors
from autoscorer.executor.k8s.jobs import create_or_adopt, reap
from autoscorer.executor.k8s.naming import ANNOTATION_CONTENT, ANNOTATION_OWNER
from autoscorer.executor.k8s.verdicts import Means
from autoscorer.executor.k8s.waiting import Vigil
from autoscorer.executor.k8s.watch import PodWatch
from autoscorer.executor.ownership import Owner
from autoscorer.utils.errors import AutoscorerError
from tests.executor.attempts import eventually
from tests.executor.k8s.scripted import Answer, Script, a_pod, pods, served

pytestmark = pytest.mark.slow  # a server each

PODS = "/api/v1/namespaces/jobs/pods"
JOBS = "/apis/batch/v1/namespaces/jobs/jobs"
OK: Answer = (200, {}, {})
RUNNING: dict[str, Any] = {
    "containerStatuses": [{"name": "main", "state": {"running": {}}}],
    "phase": "Running",
}
EXITED: dict[str, Any] = {
    "containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 0}}}],
    "phase": "Running",
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PAUSE_S", 0.01)
    monkeypatch.setattr(watching, "POLL_S", 0.05)
    monkeypatch.setattr(waiting, "LATENESS_S", 0.0)


def event(kind: str, thing: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": thing}


def vigil(cluster: Cluster, watch: PodWatch, **changes: Any) -> Vigil:
    options = {"name": "n", "start_timeout_s": 30, "time_limit_s": 60, "is_staged": True, **changes}
    return Vigil(cluster, watch, **options)


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    waits: list[float] = []
    busy: Answer = (429, {"reason": "TooManyRequests"}, {"Retry-After": "3"})
    script = Script(others={("GET", "/version"): deque([busy, (503, {}, {}), (200, {"ok": True}, {})])})
    with served(script) as cluster:
        cluster._sleep = waits.append
        assert cluster.call("GET", "/version") == {"ok": True}
    assert 3 <= waits[0] < 4
    assert waits[1] < 1


def test_a_server_that_stays_busy_is_given_up() -> None:
    script = Script(others={("GET", "/version"): deque([(429, {}, {"Retry-After": "30"})])})
    with (
        served(script) as cluster,
        pytest.raises(AutoscorerError, match="busy or away") as caught,
        cluster_errors("asking"),
    ):
        cluster.call("GET", "/version", budget_s=5)
    assert caught.value.code == "RESOURCE_UNAVAILABLE"
    assert len(script.asked) == 1


def test_what_is_forbidden_is_not_asked_twice() -> None:
    script = Script(others={("GET", "/version"): deque([(403, {"message": "jobs is forbidden"}, {})])})
    with served(script) as cluster, pytest.raises(RefusedError):
        cluster.call("GET", "/version")
    assert len(script.asked) == 1


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with served(Script()) as cluster:
        pass
    with pytest.raises(UnreachableError):
        cluster.call("GET", "/version", budget_s=0)


def test_a_watch_that_is_too_old_begins_again_with_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "POLL_S", 600.0)
    gone = event("ERROR", {"code": 410, "reason": "Expired"})
    script = Script(
        lists=deque([pods(a_pod(version=5, **RUNNING)), pods(a_pod(version=9, **EXITED), version="9")]),
        watches=deque([([gone], "end"), ([], "hang")]),
    )
    with served(script) as cluster:
        watch = PodWatch(cluster, "n")
        end = vigil(cluster, watch).until_ended([])
        assert eventually(lambda: len(script.asked) >= 4)
        script.over.set()
        watch.close()
    assert end.verdict is not None
    assert end.verdict.means is Means.EXITED
    assert script.asked[:4] == [("GET", PODS), ("GET", PODS + "?watch")] * 2


def test_a_watch_that_is_open_and_silent_is_not_believed() -> None:
    script = Script(
        lists=deque([pods(a_pod(version=5, **RUNNING)), pods(a_pod(version=6, **EXITED))]),
        watches=deque([([], "hang")]),
    )
    with served(script) as cluster:
        watch = PodWatch(cluster, "n")
        end = vigil(cluster, watch).until_ended([])
        script.over.set()
        watch.close()
    assert end.verdict is not None
    assert end.verdict.means is Means.EXITED


def test_an_event_that_comes_late_changes_nothing() -> None:
    stale = event("MODIFIED", a_pod(version=3, **RUNNING))
    script = Script(lists=deque([pods(a_pod(version=8, **EXITED))]), watches=deque([([stale], "hang")]))
    with served(script) as cluster:
        watch = PodWatch(cluster, "n")
        assert eventually(lambda: ("GET", PODS + "?watch") in script.asked)
        end = vigil(cluster, watch).until_ended([])
        script.over.set()
        watch.close()
    assert end.facts.ended == {"exitCode": 0}


def test_a_cluster_that_goes_away_ends_no_program_until_it_is_away_for_long() -> None:
    away: Answer = (503, {}, {})
    script = Script(lists=deque([pods(a_pod(version=5, **RUNNING)), away]), watches=deque([([], "end")]))
    with served(script) as cluster:
        watch = PodWatch(cluster, "n")
        end = vigil(cluster, watch, silence_s=0.5).until_ended([])
        watch.close()
    assert end.verdict is not None
    assert end.verdict.means is Means.GAP


@pytest.mark.slow
def test_a_cluster_that_is_away_at_the_deadline_blames_nobody_for_it() -> None:
    away: Answer = (503, {}, {})
    script = Script(lists=deque([pods(a_pod(version=5, **RUNNING)), away]), watches=deque([([], "end")]))
    with served(script) as cluster:
        watch = PodWatch(cluster, "n")
        end = vigil(cluster, watch, time_limit_s=0.1, silence_s=1.0).until_ended([])
        watch.close()
    assert end.stopped is not StopReason.TIME_LIMIT


def test_a_program_seen_running_after_its_deadline_is_late() -> None:
    script = Script(lists=deque([pods(a_pod(version=5, **RUNNING))]), watches=deque([([], "hang")]))
    with served(script) as cluster:
        watch = PodWatch(cluster, "n")
        end = vigil(cluster, watch, time_limit_s=0.1).until_ended([])
        script.over.set()
        watch.close()
    assert end.stopped is StopReason.TIME_LIMIT


def test_a_disruption_the_cluster_names_is_the_platforms() -> None:
    row = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    script = Script(
        lists=deque([pods(a_pod(version=5, **RUNNING))]),
        watches=deque([([event("MODIFIED", a_pod(version=6, conditions=[row], **RUNNING))], "hang")]),
    )
    with served(script) as cluster:
        watch = PodWatch(cluster, "n")
        end = vigil(cluster, watch).until_ended([])
        script.over.set()
        watch.close()
    assert end.verdict is not None
    assert end.verdict.means is Means.GAP
    assert end.verdict.text == "PreemptionByScheduler"


def test_a_further_pod_is_deleted_on_sight_and_never_judged() -> None:
    further = a_pod("u2", version=7, **EXITED)
    script = Script(
        lists=deque([pods(a_pod(version=5, **RUNNING)), pods(a_pod(version=5, **RUNNING), further)]),
        watches=deque([([], "hang")]),
        others={("DELETE", f"{PODS}/pod-u2"): deque([OK])},
    )
    deleted = threading.Event()

    def until_deleted() -> StopReason | None:
        if ("DELETE", f"{PODS}/pod-u2") in script.asked:
            deleted.set()
        return StopReason.CANCELLED if deleted.is_set() else None

    with served(script) as cluster:
        watch = PodWatch(cluster, "n")
        end = vigil(cluster, watch).until_ended([until_deleted])
        script.over.set()
        watch.close()
    assert end.stopped is StopReason.CANCELLED
    assert end.facts.running
    assert script.asked.count(("DELETE", f"{PODS}/pod-u2")) == 1


def test_a_job_the_cluster_may_not_make_a_pod_for_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "ASK_WHY_S", 0.0)
    monkeypatch.setattr(waiting, "REFUSED_S", 0.0)
    said = 'pods "n-1" is forbidden: violates PodSecurity "restricted:latest"'
    events = {"items": [{"reason": "FailedCreate", "message": said}]}
    script = Script(
        lists=deque([pods()]),
        watches=deque([([], "hang")]),
        others={("GET", "/api/v1/namespaces/jobs/events"): deque([(200, events, {})])},
    )
    with served(script) as cluster:
        watch = PodWatch(cluster, "n")
        with pytest.raises(AutoscorerError, match="PodSecurity") as caught:
            vigil(cluster, watch).until_started(lambda: None, bring_in=lambda _pod: None)
        script.over.set()
        watch.close()
    assert (caught.value.code, caught.value.blame) == ("RESOURCE_UNAVAILABLE", "operator")


# --- one Job for one attempt

ME = Owner(space="m:b:n", pid=1, started_ticks=1)
OTHER = Owner(space="m:b:n", pid=2, started_ticks=2)
BODY: dict[str, Any] = {
    "metadata": {"name": "n", "annotations": {}},
    "spec": {"template": {"spec": {"volumes": [{"name": "tmp", "emptyDir": {}}]}}},
}
CONFLICT: Answer = (409, {"reason": "AlreadyExists"}, {})
MISSING: Answer = (404, {}, {})


def job(owner: Owner, content: str = "same", **status: Any) -> Answer:
    annotations = {ANNOTATION_OWNER: str(owner), ANNOTATION_CONTENT: content}
    return (
        200,
        {
            "metadata": {"name": "n", "uid": "j1", "resourceVersion": "7", "annotations": annotations},
            "status": status,
        },
        {},
    )


def make(script: Script, *, is_alive: bool, body: dict[str, Any] = BODY) -> bool:
    with served(script) as cluster:
        return create_or_adopt(cluster, body, content="same", owner=ME, is_alive=lambda _owner: is_alive)


def test_an_answer_that_was_lost_makes_no_second_job() -> None:
    # The first answer says that the server is away, and yet it had made the Job.
    script = Script(
        lists=deque([pods()]),
        others={
            ("POST", JOBS): deque([(503, {}, {}), CONFLICT]),
            ("GET", f"{JOBS}/n"): deque([job(ME)]),
            ("PATCH", f"{JOBS}/n"): deque([OK]),
        },
    )
    assert make(script, is_alive=True)
    assert [what for what, _ in script.asked].count("DELETE") == 0


def test_what_a_dead_process_had_begun_is_taken_up() -> None:
    script = Script(
        lists=deque([pods()]),
        others={
            ("POST", JOBS): deque([CONFLICT]),
            ("GET", f"{JOBS}/n"): deque([job(OTHER)]),
            ("PATCH", f"{JOBS}/n"): deque([OK]),
        },
    )
    assert make(script, is_alive=False)


def test_what_a_living_process_runs_is_left_alone() -> None:
    script = Script(
        lists=deque([pods()]),
        others={("POST", JOBS): deque([CONFLICT]), ("GET", f"{JOBS}/n"): deque([job(OTHER)])},
    )
    with pytest.raises(AutoscorerError) as caught:
        make(script, is_alive=True)
    assert caught.value.code == "WORKSPACE_BUSY"


def held(attempt: int, *, pid: int = 7) -> Owner:
    return Owner(space="other:b:n", pid=pid, started_ticks=7, lease=f"task-1/{attempt}/worker-{pid}")


def take(script: Script, owner: Owner) -> bool:
    with served(script) as cluster:
        return create_or_adopt(cluster, BODY, content="same", owner=owner, is_alive=lambda _owner: True)


def test_who_holds_a_task_now_takes_up_what_its_former_holder_runs() -> None:
    script = Script(
        lists=deque([pods()]),
        others={
            ("POST", JOBS): deque([CONFLICT]),
            ("GET", f"{JOBS}/n"): deque([job(held(9))]),
            ("PATCH", f"{JOBS}/n"): deque([OK]),
        },
    )
    now = held(10, pid=8)
    assert take(script, now)
    taken = {"resourceVersion": "7", "annotations": {ANNOTATION_OWNER: str(now)}}
    assert [body["metadata"] for body in script.patches] == [taken]


def test_who_held_a_task_once_takes_nothing_back_from_a_later_attempt() -> None:
    script = Script(
        lists=deque([pods()]),
        others={("POST", JOBS): deque([CONFLICT]), ("GET", f"{JOBS}/n"): deque([job(held(10, pid=8))])},
    )
    with pytest.raises(AutoscorerError, match="a later attempt") as caught:
        take(script, held(9))
    assert caught.value.code == "WORKSPACE_BUSY"
    assert {what for what, _ in script.asked} == {"POST", "GET"}


@pytest.mark.parametrize("content", ["same", "other data"])
def test_what_a_later_attempt_takes_over_between_look_and_act_stays_with_it(content: str) -> None:
    """Control: in `test_who_holds_a_task_now_...` nobody comes between, and in the next one it is removed."""
    script = Script(
        lists=deque([pods(a_pod())]),
        others={
            ("POST", JOBS): deque([CONFLICT]),
            ("GET", f"{JOBS}/n"): deque([job(held(8, pid=6), content), job(held(10, pid=8), content)]),
            ("PATCH", f"{JOBS}/n"): deque([(409, {"reason": "Conflict"}, {})]),
            ("DELETE", f"{JOBS}/n"): deque([(409, {"reason": "Conflict"}, {})]),
        },
    )
    with pytest.raises(AutoscorerError, match="a later attempt"):
        take(script, held(9))
    acted = [what for what, _ in script.asked if what in ("PATCH", "DELETE")]
    assert acted == ["PATCH" if content == "same" else "DELETE"]
    assert all(body["preconditions"]["resourceVersion"] == "7" for body in script.deletions)


@pytest.mark.parametrize(
    "there",
    [job(OTHER, "other data"), job(OTHER, conditions=[{"type": "Failed", "status": "True"}])],
    ids=["other data", "over"],
)
def test_what_was_another_run_is_gone_before_this_one_begins(there: Answer) -> None:
    script = Script(
        lists=deque([pods(a_pod()), pods(a_pod()), pods(a_pod()), pods()]),
        others={
            ("POST", JOBS): deque([CONFLICT, (201, {}, {})]),
            ("GET", f"{JOBS}/n"): deque([there, MISSING]),
            ("DELETE", f"{JOBS}/n"): deque([OK]),
            ("DELETE", f"{PODS}/pod-u1"): deque([OK]),
        },
    )
    assert not make(script, is_alive=False)
    made = [at for at, asked in enumerate(script.asked) if asked == ("POST", JOBS)]
    last_look = max(at for at, asked in enumerate(script.asked) if asked == ("GET", PODS))
    assert made[0] < last_look < made[1]


def test_only_what_nobody_alive_owns_is_reaped() -> None:
    rows = [job(OTHER)[1], {"metadata": {"name": "not-ours", "annotations": {}}}]
    script = Script(
        lists=deque([pods()]),
        others={
            ("GET", JOBS): deque([(200, {"items": rows}, {})]),
            ("GET", f"{JOBS}/n"): deque([job(OTHER)]),
            ("DELETE", f"{JOBS}/n"): deque([OK]),
        },
    )
    with served(script) as cluster:
        assert reap(cluster, lambda _owner: True) == ()
        assert reap(cluster, lambda _owner: False, but="n") == ()
        assert [reaped.name for reaped in reap(cluster, lambda _owner: False)] == ["n"]
    assert [path for what, path in script.asked if what == "DELETE"] == [f"{JOBS}/n"]


@pytest.mark.parametrize(("then", "names"), [(job(ME), []), (MISSING, ["n"]), (job(OTHER), ["n"])])
def test_what_changes_before_it_is_reaped_is_looked_at_again(then: Answer, names: list[str]) -> None:
    """Taken over meanwhile it stays; gone, or only its status changed, its pods go with it."""
    script = Script(
        lists=deque([pods(a_pod())]),
        others={
            ("GET", JOBS): deque([(200, {"items": [job(OTHER)[1]]}, {})]),
            ("GET", f"{JOBS}/n"): deque([job(OTHER), then]),
            ("DELETE", f"{JOBS}/n"): deque([(409, {"reason": "Conflict"}, {}), OK]),
            ("DELETE", f"{PODS}/pod-u1"): deque([OK]),
        },
    )
    with served(script) as cluster:
        assert [reaped.name for reaped in reap(cluster, lambda owner: owner == ME)] == names
    removed = [path for what, path in script.asked if what == "DELETE" and path.startswith(PODS)]
    assert removed == ([f"{PODS}/pod-u1"] if names else [])


def test_a_watch_that_is_closed_while_it_is_being_opened_holds_nobody_up() -> None:
    """Control: of one that was not asked to close the thread goes on."""
    script = Script(lists=deque([pods(a_pod(version=5, **RUNNING))]), watches=deque([([], "hang")]))
    with served(script) as cluster:
        opening, go_on = threading.Event(), threading.Event()
        stream = cluster.stream

        def slowly(*args: Any, **kwargs: Any) -> Any:
            opening.set()
            go_on.wait(30)
            return stream(*args, **kwargs)

        cluster.stream = slowly  # type: ignore[method-assign]
        watch = PodWatch(cluster, "n")
        assert opening.wait(30)
        closing = threading.Thread(target=watch.close)
        closing.start()
        assert eventually(watch._closing.is_set)
        assert watch._thread.is_alive()
        go_on.set()
        closing.join(10)
        assert not closing.is_alive()
        script.over.set()


CLAIMS = "/api/v1/namespaces/jobs/persistentvolumeclaims"


def test_a_claim_of_an_earlier_job_goes_before_the_next_is_made_and_the_jobs_own_stays() -> None:
    claim = claim_manifest("n", storage_class="fast", size=1, job={"name": "n", "uid": "now"})
    earlier = claim_manifest("n", storage_class="fast", size=1, job={"name": "n", "uid": "before"})
    for there, asked in ((earlier, ["POST", "GET", "DELETE", "POST"]), (claim, ["POST", "GET"])):
        script = Script(
            others={
                ("POST", CLAIMS): deque([CONFLICT, (201, {}, {})]),
                ("GET", f"{CLAIMS}/n"): deque([(200, there, {})]),
                ("DELETE", f"{CLAIMS}/n"): deque([OK]),
            }
        )
        with served(script) as cluster:
            ensure_claim(cluster, claim)
        assert [method for method, _ in script.asked] == asked


def binding_claim(claim: str) -> dict[str, Any]:
    volumes = [{"name": "own", "persistentVolumeClaim": {"claimName": claim}}]
    return {**BODY, "spec": {"template": {"spec": {"volumes": volumes}}}}


def with_an_earlier_claim(*, job_stands: bool) -> Script:
    there = claim_manifest("n", storage_class="fast", size=1, job={"name": "n", "uid": "j1"})
    there["metadata"]["uid"] = "c1"
    is_going = {**there, "metadata": {**there["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    over = job(OTHER, conditions=[{"type": "Failed", "status": "True"}])
    claims: list[Answer] = [(200, there, {})] * (2 if job_stands else 1)
    return Script(
        lists=deque([pods()]),
        others={
            ("POST", JOBS): deque([CONFLICT, (201, {}, {})] if job_stands else [(201, {}, {})]),
            # Asked about when its claim is there, when it stands in the way, and until it is gone.
            ("GET", f"{JOBS}/n"): deque([over, over, MISSING] if job_stands else [MISSING]),
            ("DELETE", f"{JOBS}/n"): deque([OK]),
            ("GET", f"{CLAIMS}/n"): deque([*claims, (200, is_going, {}), MISSING]),
            ("DELETE", f"{CLAIMS}/n"): deque([OK]),
        },
    )


@pytest.mark.parametrize("job_stands", [True, False], ids=["with its job", "its job is gone"])
def test_no_pod_is_made_while_an_earlier_jobs_claim_is_there_to_be_bound(job_stands: bool) -> None:
    script = with_an_earlier_claim(job_stands=job_stands)
    assert not make(script, is_alive=False, body=binding_claim("n"))
    asked = [method for method, path in script.asked if path == f"{CLAIMS}/n" or method == "POST"]
    in_vain = ["GET", "POST"] if job_stands else []
    assert asked == [*in_vain, "GET", "DELETE", "GET", "GET", "POST"]  # told to go, going, gone


def test_a_claim_that_does_not_go_away_is_told_and_no_job_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "GONE_WITHIN_S", 0.2)
    script = with_an_earlier_claim(job_stands=False)
    script.others["GET", f"{CLAIMS}/n"].pop()
    with pytest.raises(AutoscorerError, match="claim n does not go away") as caught:
        make(script, is_alive=False, body=binding_claim("n"))
    assert caught.value.code == "CONTAINER_CREATE_FAILED"
    assert ("POST", JOBS) not in script.asked


@pytest.mark.parametrize("body", [BODY, binding_claim("shared")], ids=["none", "the operator's"])
def test_who_has_no_claim_of_its_own_asks_for_none(body: dict[str, Any]) -> None:
    script = with_an_earlier_claim(job_stands=True)  # it might not even be allowed to
    assert not make(script, is_alive=False, body=body)
    assert not [path for _, path in script.asked if path.startswith(CLAIMS)]


def test_a_node_that_is_lost_for_long_is_the_platforms_and_makes_nobody_late() -> None:
    lost = [{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}]
    script = Script(
        lists=deque([pods(a_pod(version=5, conditions=lost, **RUNNING))]), watches=deque([([], "hang")])
    )
    with served(script) as cluster:
        watch = PodWatch(cluster, "n")
        end = vigil(cluster, watch, time_limit_s=0.1, silence_s=0.5).until_ended([])
        script.over.set()
        watch.close()
    assert end.stopped is None
    assert end.verdict is not None
    assert (end.verdict.means, end.verdict.text) == (Means.GAP, "the pod's node does not answer")
