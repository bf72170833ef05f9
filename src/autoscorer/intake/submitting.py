"""A request becomes a job: every check that can be made before it waits, then one row in the store."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoscorer import staging
from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal
from autoscorer.callback_addresses import check_callback_url
from autoscorer.intake.cancels import check_cancelled_by
from autoscorer.intake.copies import delivered_files, make_workspace
from autoscorer.intake.homes import Homes, Place
from autoscorer.intake.room import check_open, check_room, has_ended, size_of
from autoscorer.intake.specs import (
    at_home,
    check_participants_request,
    check_participants_spec,
    merged,
    queue_for,
    request_sha256,
    stored_spec,
)
from autoscorer.queues.base import Queue
from autoscorer.reports.audience import participant_error
from autoscorer.scheduler import resolve_limits
from autoscorer.schemas.job import JobSpec, SpecFault, spec_error
from autoscorer.schemas.service import JobRequest
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.host import Entry
from autoscorer.store import moves
from autoscorer.store.base import Store
from autoscorer.store.conflicts import key_conflict
from autoscorer.store.records import Action, Job, JobQuery, NewJob, Role, Submission, SubmitOutcome
from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError, read_error
from autoscorer.utils.logger import log_event
from autoscorer.validation import exposure_warnings
from autoscorer.workspace import Glimpse, Workspace


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A request that may become a job. ``made`` is the folder that was made for it, ``context`` its ids."""

    new: NewJob
    principal: Principal
    made: Path | None
    context: Context = field(default_factory=copy_context, repr=False)


@dataclass(frozen=True, kw_only=True)
class Intake:
    """What it takes to accept jobs. Safe to use from several threads."""

    settings: Settings
    store: Store
    queue: Queue
    catalog: Catalog
    homes: Homes
    backends: Sequence[str]
    _opening: dict[object, str] = field(default_factory=dict, repr=False)  # workspaces, see `_open_again`

    def submit(self, asked: JobRequest, principal: Principal, *, key: str | None = None) -> Submission:
        """Check the request and keep the job, or say which one stands in its place.

        ``key`` is the caller's Idempotency-Key. Raises NOT_FOUND, FORBIDDEN, BAD_REQUEST,
        CONFIG_VALIDATION_ERROR, LIMIT_EXCEEDED, SCORER_NOT_FOUND, CONFLICT, WORKSPACE_BUSY.
        """
        with ExitStack() as held:
            found = self.check(asked, principal, key=key, held=held)
            outcome = found if isinstance(found, Submission) else self.keep([found])[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def check(
        self, asked: JobRequest, principal: Principal, *, key: str | None, held: ExitStack
    ) -> Checked | Submission:
        """Every check of `submit`; the job that stands already when the request is repeated.

        What the job is pinned to stays until ``held`` is closed: the store has the job by then, which keeps
        it from then on. Raises as `submit`.
        """
        self._check_request(asked, principal)
        if key is not None and (standing := self._replayed(asked, principal, key)) is not None:
            return standing
        if asked.spec is None:
            place = self.homes.workspace(asked.workspace, principal)
            self._open_again(place.name, principal, organisation_id=place.organisation_id, held=held)
            new = self._new(asked, principal, place, Workspace(place.path).load_spec(), key=key, held=held)
            return Checked(new=new, principal=principal, made=None)
        place, spec = self._make(asked, asked.spec, principal)
        try:
            new = self._new(asked, principal, place, spec, key=key, held=held)
        except BaseException:  # clean-up: what was made for nothing goes
            remove_tree(place.path)
            raise
        return Checked(new=new, principal=principal, made=place.path)

    def keep(self, checked: Sequence[Checked]) -> list[Submission | Exception]:
        """What became of each, as `submit` returns or raises it; all in one go."""
        outcomes = self.store.jobs.submit_all([one.new for one in checked])
        return [
            one.context.run(self._told, one, outcome) for one, outcome in zip(checked, outcomes, strict=True)
        ]

    def retry(self, job: Job, principal: Principal) -> Job:
        """Queue an ended job once more. Raises CONFLICT, and what `submit` raises where rules have changed.

        FORBIDDEN for a participant's job that somebody else has cancelled.
        """
        if not may_decide(principal):
            moves.retry(job, by=principal.subject)  # in vain for one under way, whose end is not known
            check_participants_request(job)
            check_cancelled_by(self.store.jobs, job, principal.subject)
            workspace = Workspace(self.homes.workspace(job.workspace, principal).path)
            with kept_from(principal):
                resolve_limits(workspace.load_spec(), self.settings)
        if job.callback_url is not None:
            check_callback_url(job.callback_url, self.settings.callback_allowed_hosts)
        with ExitStack() as held:
            self._open_again(job.workspace, principal, organisation_id=job.organisation_id, held=held)
            again = self.store.jobs.retry(job.task_id, by=principal.subject)
        self.announce(again)
        return again

    def _check_request(self, asked: JobRequest, principal: Principal) -> None:
        if not may_decide(principal):
            check_participants_request(asked)
        if asked.backend is not None and asked.backend not in self.backends:
            message = f"The backend {asked.backend!r} is not offered; known: {', '.join(self.backends)}."
            details = {"known": list(self.backends), "setting": "SERVICE_BACKENDS"}
            raise AutoscorerError("BAD_REQUEST", message, details)
        if asked.callback_url is not None:
            check_callback_url(asked.callback_url, self.settings.callback_allowed_hosts)

    def _replayed(self, asked: JobRequest, principal: Principal, key: str) -> Submission | None:
        """The job that this very request has made: no base is asked for, and nothing copied, twice.

        Raises CONFLICT when the key stands for another request.
        """
        organisation_id, _subject = principal.narrowed(Permission.SUBMIT_JOBS)
        query = JobQuery(organisation_id=organisation_id, idempotency_key=own_key(principal, key))
        found = self.store.jobs.page(query).jobs
        same = [job for job in found if job.request_sha256 == request_sha256(asked)]
        if same:
            return Submission(outcome=SubmitOutcome.REPLAYED, job=same[0])
        if found and organisation_id is not None:  # an operator's may be of another organisation
            raise key_conflict(found[0])
        return None

    def folder_for(self, principal: Principal, *, organisation_id: str) -> Path:
        """Where another submission of ``principal`` goes. Raises LIMIT_EXCEEDED when too many are open."""
        below = self.homes.submissions(principal, organisation_id=organisation_id)
        self._check_open(below, principal, organisation_id, opening=set(self._opening.values()))
        return below

    def _open_again(
        self, workspace: str, principal: Principal, *, organisation_id: str, held: ExitStack
    ) -> None:
        """An ended submission of ``principal`` gets another job, and counts as open until ``held`` is closed:
        those that come at once count, too. Raises LIMIT_EXCEEDED when too many others are open.
        """
        below = self.homes.submissions(principal, organisation_id=organisation_id)
        is_own = (self.homes.root / workspace).is_relative_to(below)
        if not is_own or not has_ended(self.store.jobs, workspace, organisation_id):
            return  # nobody's that is counted, or counted already
        ticket = object()
        self._opening[ticket] = workspace
        held.callback(self._opening.pop, ticket)
        earlier = itertools.takewhile(lambda one: one[0] is not ticket, list(self._opening.items()))
        opening = {name for _, name in earlier} - {workspace}
        self._check_open(below, principal, organisation_id, opening=opening)

    def _check_open(
        self, below: Path, principal: Principal, organisation_id: str, *, opening: Set[str]
    ) -> None:
        check_open(
            self.store.jobs,
            below,
            self.settings,
            like=JobQuery(organisation_id=organisation_id, submitted_by=principal.subject),
            name=below.relative_to(self.homes.root).as_posix(),
            opening=opening,
        )

    def _make(
        self, asked: JobRequest, given: Mapping[str, Any], principal: Principal
    ) -> tuple[Place, JobSpec]:
        """A workspace made of the one that was named, with the specification that was given."""
        base = self.homes.base(asked.workspace, principal)
        source = Workspace(base.path)
        with kept_from(principal):
            base_spec = source.load_spec()
            shown = staging.input_dir(source, base_spec, shared_root=self.homes.root)
        spec = merged(base_spec, source.raw_spec(), given)
        if not may_decide(principal):
            check_participants_spec(base_spec, spec)
        resolve_limits(spec, self.settings)  # before anything is copied
        spec = at_home(spec, base_spec)
        below = self.folder_for(principal, organisation_id=base.organisation_id)
        with kept_from(principal):
            # A base of one's own is a submission already: what was delivered with it comes along.
            is_own = base.path.parent == below
            output, into = (staging.output_dir(source, its) for its in (base_spec, spec))
            delivered = delivered_files(source, output, into) if is_own else {}
            copied = [shown, source.reference_dir]
            more = sum(map(size_of, copied)) + sum(path.stat().st_size for path in delivered.values())
            check_room(below, self.settings, more)
            folder = make_workspace(
                below,
                stored_spec(spec),
                shown=shown,
                reference=source.reference_dir,
                root=self.homes.root,
                delivered=delivered,
            )
        return self.homes.place_of(folder), spec

    def _new(
        self,
        asked: JobRequest,
        principal: Principal,
        place: Place,
        spec: JobSpec,
        *,
        key: str | None,
        held: ExitStack,
    ) -> NewJob:
        """The last checks, and what the store is to keep."""
        limits = resolve_limits(spec, self.settings)
        workspace = Glimpse(place.path)
        with kept_from(principal):
            self._check_bounds(workspace, spec, asked)
        self._check_workspace(workspace, spec, asked)
        action = Action(asked.action)
        scorer = held.enter_context(self._pinned(action, asked.scorer or spec.scorer))
        if scorer is not None:
            with kept_from(principal):
                self.catalog.check_params_here(
                    scorer, spec.scorer_params if asked.params is None else asked.params
                )
        return NewJob(
            organisation_id=place.organisation_id,
            job_id=spec.job_id,
            action=action,
            workspace=place.name,
            spec=stored_spec(spec),
            submitted_by=principal.subject,
            params=asked.params,
            backend=asked.backend or "auto",
            scorer=scorer.card.pin if scorer else None,
            queue=queue_for(action, limits.gpus),
            priority=asked.priority,
            callback_url=asked.callback_url,
            idempotency_key=key and own_key(principal, key),
            request_sha256=key and request_sha256(asked),
        )

    def _check_bounds(self, workspace: Workspace, spec: JobSpec, asked: JobRequest) -> None:
        staging.output_dir(workspace, spec)
        if asked.action != "score":
            staging.input_dir(workspace, spec, shared_root=self.homes.root)

    def _check_workspace(self, workspace: Workspace, spec: JobSpec, asked: JobRequest) -> None:
        if faults := workspace.structure_faults():
            raise spec_error(faults, cause="workspace")
        if asked.action == "score" or self.settings.allow_truth_in_input:
            return
        exposed = exposure_warnings(workspace, spec, self.settings, self.catalog)
        if exposed:
            faults = [SpecFault("input/", found.message, "ALLOW_TRUTH_IN_INPUT: true") for found in exposed]
            raise spec_error(faults, cause="workspace")

    @contextmanager
    def _pinned(self, action: Action, scorer: str) -> Iterator[Entry | None]:
        """What the job is pinned to: kept here until the store has the job, which keeps it from then on."""
        if action is Action.RUN:
            yield None
            return
        with self.catalog.held(scorer) as entry:
            yield entry

    def _told(self, checked: Checked, outcome: Submission | Exception) -> Submission | Exception:
        """What the caller hears of it; the workers, too."""
        if isinstance(outcome, Submission) and outcome.outcome is SubmitOutcome.CREATED:
            self.announce(outcome.job)
            return outcome
        if checked.made is not None:
            remove_tree(checked.made)
        if isinstance(outcome, Exception):
            return self._conflict_told(checked, outcome)
        if may_see(checked.principal, outcome.job):
            return outcome
        # Somebody else's job on a workspace that is theirs to run, too: that is all they hear of it.
        return AutoscorerError("WORKSPACE_BUSY", f"Another job is under way on {checked.new.workspace}.")

    def _conflict_told(self, checked: Checked, exc: Exception) -> Exception:
        """A conflict with a job that the caller may not see tells nothing of it."""
        if not isinstance(exc, AutoscorerError) or exc.code != "CONFLICT":
            return exc
        try:
            standing = self.store.jobs.get(str(exc.details.get("task_id", "")))
        except AutoscorerError as unavailable:
            return unavailable
        if standing is None or may_see(checked.principal, standing):
            return exc
        job_id = checked.new.job_id
        message = f"The job_id {job_id!r} is in use; take another one."
        return AutoscorerError("CONFLICT", message, {"job_id": job_id}, cause=exc.cause)

    def announce(self, job: Job) -> None:
        """Tell the workers. A broker that does not answer fails nothing."""
        try:
            self.queue.announce(job)
        except Exception as exc:  # boundary to a broker: the store has the job, the reconciler tells of it
            log_event("WARNING", "not_announced", error=exc, task_id=job.task_id)


def may_decide(principal: Principal) -> bool:
    """Whether ``principal`` says how jobs are scored, not only what is run."""
    return principal.role in (Role.OPERATOR, Role.ORGANISER)


def may_see(principal: Principal, job: Job) -> bool:
    """Whether ``principal`` may read that job."""
    organisation_id, subject = principal.narrowed(Permission.READ_JOBS)
    return organisation_id in (None, job.organisation_id) and subject in (None, job.submitted_by)


def own_key(principal: Principal, key: str) -> str:
    """An Idempotency-Key as the store keeps it: nobody meets another's by chance or by guessing."""
    whose = f"{principal.organisation_id}\n{principal.subject}"
    return hashlib.sha256(f"{whose}\n{key}".encode()).hexdigest()


@contextmanager
def kept_from(principal: Principal) -> Iterator[None]:
    """What is wrong with an organiser's workspace is not for participants to read."""
    try:
        yield
    except AutoscorerError as exc:
        if may_decide(principal):
            raise
        raise read_error(participant_error(exc.to_dict())) from exc
