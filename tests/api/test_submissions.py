"""Submissions that come at once: together through the store, and none held up by another's slow folder."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from autoscorer.access.principal import Principal
from autoscorer.api import rounds, submissions
from autoscorer.api.submissions import Submissions
from autoscorer.intake.submitting import Checked, Intake
from autoscorer.schemas.service import JobRequest
from autoscorer.store.records import JobQuery, Role, Submission
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import bound, bound_ids
from tests.api.sites import ApiSite
from tests.worker.sites import until

NEVER_S = 1e9
TOPS = ("slow", "slow", "quick")


@dataclass
class SlowIntake:
    """An intake whose file system hangs for every folder below `slow/`, until it is let go."""

    real: Intake
    let_go: threading.Event = field(default_factory=threading.Event)
    hanging: list[str] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)  # how many at once
    ids: list[object] = field(default_factory=list)
    store_hangs: bool = False

    @property
    def settings(self) -> Settings:
        return self.real.settings

    def submit(self, asked: JobRequest, principal: Principal, *, key: str | None) -> Submission:
        with ExitStack() as held:
            found = self.check(asked, principal, key=key, held=held)
            outcome = found if isinstance(found, Submission) else self.keep([found])[0]
        assert isinstance(outcome, Submission)
        return outcome

    def check(self, asked: JobRequest, principal: Principal, *, key: str | None, held: ExitStack) -> Any:
        self.ids.append(bound_ids().get("request_id"))
        if "/slow/" in f"/{asked.workspace}":
            self.hanging.append(asked.workspace)
            assert self.let_go.wait(60)
        return self.real.check(asked.model_copy(update={"spec": None}), principal, key=key, held=held)

    def keep(self, checked: Sequence[Checked]) -> list[Submission | Exception]:
        self.kept.append(len(checked))
        if self.store_hangs:
            assert self.let_go.wait(60)
        return self.real.keep(checked)


@pytest.fixture
def intake(api: ApiSite) -> Iterator[SlowIntake]:
    slow = SlowIntake(api.service.intake)
    yield slow
    slow.let_go.set()


@pytest.fixture
def ada(api: ApiSite) -> Principal:
    return Principal(
        organisation_id=api.organisation("default"), subject="ada", role=Role.ORGANISER, token_id="t"
    )


def folder(api: ApiSite, below: str, **spec: Any) -> str:
    """A new workspace in a folder of that name, as a request names it."""
    made = api.site.workspace("good", below=api.home / below, **spec)
    return api.name(made)


def asked_of(line: Submissions, principal: Principal) -> Callable[[str], Coroutine[Any, Any, Submission]]:
    return lambda name: line.submit(JobRequest(workspace=name, action="score"), principal, key=None)


async def answered(task: asyncio.Task[Submission], *, within_s: float) -> bool:
    return bool((await asyncio.wait([task], timeout=within_s))[0])


async def hanging(intake: SlowIntake, number: int) -> None:
    await asyncio.to_thread(until, lambda: len(intake.hanging) >= number)


def test_those_that_come_together_are_kept_together_and_fail_alone(
    api: ApiSite, intake: SlowIntake, ada: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "LONGEST_S", NEVER_S)  # however slow this machine is
    monkeypatch.setattr(submissions, "ROUNDS", 1)
    names = [folder(api, "quick") for _ in range(6)]

    async def submit_all() -> list[Submission | BaseException]:
        submit = asked_of(Submissions(intake), ada)  # type: ignore[arg-type]  # as much of it as is used
        return await asyncio.gather(
            *(submit(name) for name in [*names[:3], "quick/none", *names[3:]]), return_exceptions=True
        )

    outcomes = asyncio.run(submit_all())
    refused = outcomes.pop(3)
    assert isinstance(refused, AutoscorerError)
    assert refused.code == "NOT_FOUND"
    assert [one.job.workspace for one in outcomes if isinstance(one, Submission)] == names
    assert intake.kept == [6]


@pytest.mark.parametrize(
    ("bound_", "value", "kept"),
    [("MOST", 4, [4, 4, 2]), ("LONGEST_S", -1.0, [1] * 10), ("LONGEST_S", NEVER_S, [10])],
    ids=["so many", "so long", "control"],
)
def test_a_round_takes_so_many_and_for_so_long(
    api: ApiSite,
    intake: SlowIntake,
    ada: Principal,
    monkeypatch: pytest.MonkeyPatch,
    bound_: str,
    value: float,
    kept: list[int],
) -> None:
    monkeypatch.setattr(submissions, "ROUNDS", 1)
    monkeypatch.setattr(rounds, "LONGEST_S", NEVER_S)
    monkeypatch.setattr(rounds, bound_, value)
    names = [folder(api, "quick") for _ in range(10)]

    async def submit_all() -> None:
        submit = asked_of(Submissions(intake), ada)  # type: ignore[arg-type]
        await asyncio.gather(*map(submit, names))

    asyncio.run(submit_all())
    assert intake.kept == kept


@pytest.mark.parametrize(("at_once", "meet"), [(4, True), (3, False)], ids=["as many", "control: fewer"])
def test_a_slow_disk_is_waited_for_in_parallel(
    api: ApiSite,
    intake: SlowIntake,
    ada: Principal,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
    meet: bool,
) -> None:
    monkeypatch.setattr(submissions, "ROUNDS", at_once)
    monkeypatch.setattr(submissions, "STUCK_S", NEVER_S)
    names = [folder(api, "slow") for _ in range(4)]

    async def submit_all() -> bool:
        submit = asked_of(Submissions(intake), ada)  # type: ignore[arg-type]
        tasks = [asyncio.create_task(submit(name)) for name in names]
        await hanging(intake, at_once)
        await asyncio.wait(tasks, timeout=3 * submissions.NEXT_S)  # whatever begins has begun by then
        found = len(intake.hanging) == len(names)
        intake.let_go.set()
        await asyncio.gather(*tasks)
        return found

    assert asyncio.run(submit_all()) is meet


def test_what_is_logged_of_each_carries_its_own_request(
    api: ApiSite, intake: SlowIntake, ada: Principal
) -> None:
    async def submit_all() -> None:
        submit = asked_of(Submissions(intake), ada)  # type: ignore[arg-type]

        async def of(number: int) -> None:
            with bound(request_id=number):
                await submit(folder(api, "quick"))

        await asyncio.gather(*(of(number) for number in range(4)))

    asyncio.run(submit_all())
    assert sorted(map(str, intake.ids)) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("at_once", "stuck_s", "is_answered"),
    [(8, 0.1, True), (1, 0.1, True), (8, NEVER_S, True), (1, NEVER_S, False)],
    ids=["as it is", "only one round", "none counts as stuck", "control: neither"],
)
def test_a_folder_that_hangs_holds_up_no_other(
    api: ApiSite,
    intake: SlowIntake,
    ada: Principal,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
    stuck_s: float,
    is_answered: bool,
) -> None:
    monkeypatch.setattr(submissions, "ROUNDS", at_once)
    monkeypatch.setattr(submissions, "STUCK_S", stuck_s)
    names = [folder(api, "quick"), folder(api, "slow"), folder(api, "quick"), folder(api, "quick")]

    async def submit_all() -> list[bool]:
        submit = asked_of(Submissions(intake), ada)  # type: ignore[arg-type]
        tasks = [asyncio.create_task(submit(name)) for name in names[:3]]  # one before it, one after it
        await hanging(intake, 1)
        tasks.append(asyncio.create_task(submit(names[3])))
        within_s = 20.0 if is_answered else 0.5
        # What had been checked before in its round is held up as long as that does not count as stuck.
        ahead = [tasks[0]] if stuck_s != NEVER_S else []
        found = [await answered(task, within_s=within_s) for task in [*ahead, *tasks[2:]]]
        intake.let_go.set()
        await asyncio.gather(*tasks)
        return found

    assert set(asyncio.run(submit_all())) == {is_answered}
    jobs = api.store.jobs.page(JobQuery()).jobs
    assert sorted(job.workspace for job in jobs) == sorted(names)  # none lost, none twice


@pytest.mark.parametrize(
    ("patience_s", "is_refused"), [(0.2, True), (NEVER_S, False)], ids=["as it is", "control"]
)
def test_one_that_hangs_for_long_is_answered_and_nothing_comes_of_it_later(
    api: ApiSite,
    intake: SlowIntake,
    monkeypatch: pytest.MonkeyPatch,
    patience_s: float,
    is_refused: bool,
) -> None:
    monkeypatch.setattr(submissions, "STUCK_S", 0.1)
    monkeypatch.setattr(submissions, "PATIENCE_S", patience_s)
    api.app.state.service = replace(api.service, submissions=Submissions(intake))  # type: ignore[arg-type]
    name = folder(api, "slow")
    asked = {"workspace": name, "action": "score"}
    if not is_refused:
        threading.Timer(0.5, intake.let_go.set).start()
    with api.client:  # one event loop for all requests
        answer = api.ask("POST", "/submit", json=asked)
        if not is_refused:
            assert answer.status_code == 202
            return
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        error = answer.json()["error"]
        assert (error["code"], error["details"]["cause"]) == ("RESOURCE_UNAVAILABLE", "workspace")
        assert error["message"] == f"The folder of {name} does not answer; try again later."
        assert error["details"]["hint"]
        intake.let_go.set()
        until(lambda: not [one for one in threading.enumerate() if one.name == "submissions"])
        assert api.store.jobs.page(JobQuery()).jobs == ()
        # It was not in vain: the folder answers again.
        assert api.ask("POST", "/submit", json=asked).status_code == 202


@pytest.mark.parametrize(
    ("late_s", "is_refused"), [(-1.0, False), (1.0, True)], ids=["it was stopped", "control"]
)
def test_a_process_that_was_stopped_for_long_refuses_nobody_when_it_goes_on(
    api: ApiSite,
    intake: SlowIntake,
    ada: Principal,
    monkeypatch: pytest.MonkeyPatch,
    late_s: float,
    is_refused: bool,
) -> None:
    monkeypatch.setattr(submissions, "LATE_S", late_s)  # each watch comes late, or none
    monkeypatch.setattr(submissions, "STUCK_S", 0.1)
    monkeypatch.setattr(submissions, "PATIENCE_S", 0.2)
    name = folder(api, "slow")

    async def submit() -> bool:
        task = asyncio.create_task(asked_of(Submissions(intake), ada)(name))  # type: ignore[arg-type]
        await hanging(intake, 1)
        await answered(task, within_s=20 if is_refused else 0.5)
        intake.let_go.set()
        await asyncio.wait([task], timeout=20)
        return task.exception() is not None

    assert asyncio.run(submit()) is is_refused


@pytest.mark.parametrize(
    ("most", "is_refused"), [(2, True), (1000, False)], ids=["as it is", "control: no limit"]
)
def test_a_folder_that_hangs_takes_only_so_many_threads(
    api: ApiSite,
    intake: SlowIntake,
    ada: Principal,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    is_refused: bool,
) -> None:
    monkeypatch.setattr(submissions, "ROUNDS", 1)
    monkeypatch.setattr(submissions, "STUCK_S", 0.05)
    monkeypatch.setattr(submissions, "MOST_STUCK", most)
    slow, quick = [folder(api, "slow") for _ in range(8)], folder(api, "quick")

    async def submit_all() -> list[bool]:
        submit = asked_of(Submissions(intake), ada)  # type: ignore[arg-type]
        tasks = [asyncio.create_task(submit(name)) for name in slow]
        await hanging(intake, 2 if is_refused else len(slow))
        if is_refused:  # those in the line, then one more
            await asyncio.wait(tasks[2:], timeout=20)
            tasks.append(asyncio.create_task(submit(slow[0])))
            await asyncio.wait(tasks[8:], timeout=20)
        await asyncio.wait_for(submit(quick), 20)  # of the same organisation
        refused = [task.done() and _code(task) == "RESOURCE_UNAVAILABLE" for task in tasks]
        intake.let_go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        return refused

    assert asyncio.run(submit_all()) == ([False] * 2 + [True] * 7 if is_refused else [False] * 8)
    assert len(intake.hanging) == (2 if is_refused else 8)


def _code(task: asyncio.Task[Submission]) -> str:
    error = task.exception()
    return error.code if isinstance(error, AutoscorerError) else str(error)


@pytest.mark.parametrize("spec", [{"job_id": "another"}, None], ids=["copies", "control"])
def test_one_that_copies_a_workspace_has_a_thread_elsewhere(
    api: ApiSite,
    intake: SlowIntake,
    ada: Principal,
    monkeypatch: pytest.MonkeyPatch,
    spec: dict[str, Any] | None,
) -> None:
    monkeypatch.setattr(submissions, "ROUNDS", 1)
    monkeypatch.setattr(submissions, "STUCK_S", NEVER_S)
    slow, quick = folder(api, "slow"), folder(api, "quick")

    async def submit_all() -> bool:
        line = Submissions(intake)  # type: ignore[arg-type]
        asked = JobRequest(workspace=slow, action="score", spec=spec)
        copying = asyncio.create_task(line.submit(asked, ada, key=None))
        await hanging(intake, 1)
        other = asyncio.create_task(asked_of(line, ada)(quick))
        is_answered = await answered(other, within_s=20 if spec else 0.3)
        intake.let_go.set()
        await asyncio.gather(copying, other)
        return is_answered

    assert asyncio.run(submit_all()) is (spec is not None)


def test_each_event_loop_has_a_line_of_its_own(api: ApiSite, intake: SlowIntake, ada: Principal) -> None:
    submit = asked_of(Submissions(intake), ada)  # type: ignore[arg-type]
    names = [folder(api, "quick") for _ in range(3)]
    assert [asyncio.run(submit(name)).job.workspace for name in names] == names


def test_whoever_has_gone_is_not_told_and_holds_up_nobody(
    api: ApiSite, intake: SlowIntake, ada: Principal
) -> None:
    names = [folder(api, "slow"), folder(api, "quick")]

    async def submit_all() -> Submission:
        submit = asked_of(Submissions(intake), ada)  # type: ignore[arg-type]
        gone = asyncio.create_task(submit(names[0]))
        await hanging(intake, 1)
        gone.cancel()
        intake.let_go.set()
        return await submit(names[1])

    assert asyncio.run(submit_all()).job.workspace == names[1]
    until(lambda: len(api.store.jobs.page(JobQuery()).jobs) == 2)  # it was asked for, so it is kept


@pytest.mark.parametrize("in_", ["keeping", "letting go"])
def test_a_fault_of_ours_leaves_nobody_waiting(
    api: ApiSite, intake: SlowIntake, ada: Principal, monkeypatch: pytest.MonkeyPatch, in_: str
) -> None:
    check = intake.check

    def broken(*_: object) -> list[Submission | Exception]:
        raise RuntimeError("a fault of ours")

    def held_by_what_breaks(*given: Any, held: ExitStack, **more: Any) -> Any:
        held.callback(broken)
        return check(*given, held=held, **more)

    if in_ == "keeping":
        monkeypatch.setattr(intake, "keep", broken)
    else:
        monkeypatch.setattr(intake, "check", held_by_what_breaks)
    names = [folder(api, "quick") for _ in range(3)]

    async def submit_all() -> list[Submission | BaseException]:
        submit = asked_of(Submissions(intake), ada)  # type: ignore[arg-type]
        return await asyncio.wait_for(asyncio.gather(*map(submit, names), return_exceptions=True), 20)

    outcomes = asyncio.run(submit_all())
    told = [one.job.workspace if isinstance(one, Submission) else str(one) for one in outcomes]
    # When a pin cannot be let go, the store has the jobs: they are told as they are, the fault is logged.
    assert told == (["a fault of ours"] * 3 if in_ == "keeping" else names)
    assert len(api.store.jobs.page(JobQuery()).jobs) == (0 if in_ == "keeping" else 3)


@pytest.mark.parametrize(
    ("hangs", "code"),
    [("store", "STORE_UNAVAILABLE"), ("folder", "RESOURCE_UNAVAILABLE")],
    ids=["the store", "control: a folder"],
)
def test_whoever_waits_too_long_hears_of_a_folder_only_where_that_is_to_blame(
    api: ApiSite,
    intake: SlowIntake,
    ada: Principal,
    monkeypatch: pytest.MonkeyPatch,
    hangs: str,
    code: str,
) -> None:
    monkeypatch.setattr(submissions, "ROUNDS", 1)
    monkeypatch.setattr(submissions, "STUCK_S", 0.1)
    monkeypatch.setattr(submissions, "PATIENCE_S", 0.3)
    intake.store_hangs = hangs == "store"
    names = [folder(api, "slow" if hangs == "folder" else "quick") for _ in range(2)]

    async def submit_all() -> tuple[str, str]:
        submit = asked_of(Submissions(intake), ada)  # type: ignore[arg-type]
        first = asyncio.create_task(submit(names[0]))
        await asyncio.to_thread(until, lambda: intake.hanging or intake.kept)
        late = asyncio.create_task(submit(names[1]))
        await asyncio.wait([late], timeout=20)
        error = late.exception()
        assert isinstance(error, AutoscorerError)
        intake.let_go.set()
        await asyncio.wait([first], timeout=20)
        return error.code, str(error.blame)

    assert asyncio.run(submit_all()) == (code, "platform" if hangs == "store" else "operator")


@pytest.mark.parametrize(
    ("hung", "other", "same"),
    [
        ("a/x", "b/x", False),
        ("a/x", "a/y", True),
        ("a/x", "./a//y/z", True),
        ("organisations/uni/a/x", "organisations/uni/b/x", False),
        ("organisations/uni/a/x", "organisations/uni/a/y", True),
        ("organisations/uni/a/x", "organisations/school/a/x", False),
        ("organisations/uni/a/x", "a/x", False),
    ],
)
@pytest.mark.parametrize("root", ["", "/srv/spelled/", "/srv/real/"], ids=["", "as configured", "as it is"])
def test_a_folder_is_the_one_at_the_top_of_an_organisations_home(
    hung: str, other: str, same: bool, root: str
) -> None:
    roots = (PurePosixPath("/srv/spelled"), PurePosixPath("/srv/real"))
    found = rounds.top_folder(root + hung, roots=roots)
    assert (found == rounds.top_folder(other, roots=roots)) is same
    assert (found == rounds.top_folder("/srv/real/" + other, roots=roots)) is same


@pytest.mark.parametrize(
    "below", ["organisations/uni/", "", None], ids=["of a name", "the first", "absolute"]
)
def test_a_folder_that_hangs_bars_no_other_of_its_organisation(
    api: ApiSite, intake: SlowIntake, monkeypatch: pytest.MonkeyPatch, below: str | None
) -> None:
    monkeypatch.setattr(submissions, "STUCK_S", 0.05)
    monkeypatch.setattr(submissions, "MOST_STUCK", 1)
    name = "uni" if below else "default"
    principal = Principal(
        organisation_id=api.organisation(name), subject="ada", role=Role.ORGANISER, token_id="t"
    )
    home = api.home / (below or "")
    at = f"{api.home}/" if below is None else ""
    slow, more, quick = (at + api.name(api.site.workspace("good", below=home / top)) for top in TOPS)

    async def submit_all() -> tuple[str, Submission]:
        line = Submissions(intake)  # type: ignore[arg-type]
        submit = asked_of(line, principal)
        stuck = asyncio.create_task(submit(slow))
        await hanging(intake, 1)
        (one,) = line._lines.values()
        while not one._stuck:
            await asyncio.sleep(0)
        barred = asyncio.create_task(submit(more))  # the control: the same folder
        await asyncio.wait([barred], timeout=20)
        kept = await asyncio.wait_for(submit(quick), 20)
        intake.let_go.set()
        await asyncio.wait([stuck], timeout=20)
        return _code(barred), kept

    code, kept = asyncio.run(submit_all())
    assert code == "RESOURCE_UNAVAILABLE"
    assert quick.endswith(kept.job.workspace)


@pytest.mark.parametrize("is_kept", [True, False], ids=["all kept", "none kept"])
def test_a_fault_of_ours_at_a_rounds_end_leaves_nobody_waiting_and_stops_nothing(
    api: ApiSite, intake: SlowIntake, ada: Principal, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    monkeypatch.setattr(submissions, "ROUNDS", 1)
    check, names = intake.check, [folder(api, "quick") for _ in range(4)]
    faults = ["in letting go"]

    def let_go() -> None:
        if faults:
            raise OSError(faults.pop())

    def held_by_what_breaks(asked: JobRequest, *given: Any, held: ExitStack, **more: Any) -> Any:
        held.callback(let_go)
        if not is_kept and faults:
            raise AutoscorerError("BAD_REQUEST", "no")
        return check(asked, *given, held=held, **more)

    monkeypatch.setattr(intake, "check", held_by_what_breaks)

    async def submit_all() -> list[Submission | BaseException]:
        submit = asked_of(Submissions(intake), ada)  # type: ignore[arg-type]
        first = asyncio.gather(*map(submit, names[:3]), return_exceptions=True)
        return [*await asyncio.wait_for(first, 10), await asyncio.wait_for(submit(names[3]), 10)]

    outcomes = asyncio.run(submit_all())
    # What the store has is told as it is: nobody submits it twice.
    told = [one.job.workspace if isinstance(one, Submission) else str(one) for one in outcomes]
    assert told == (names if is_kept else [*["BAD_REQUEST: no"] * 3, names[3]])
    assert sorted(job.workspace for job in api.store.jobs.page(JobQuery()).jobs) == sorted(
        names if is_kept else names[3:]
    )
