"""The Kubernetes backend: one Job, one pod, for each attempt."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoscorer.executor.base import (
    LEFT_RUNNING,
    AttemptPlan,
    Executor,
    IsAlive,
    OnEvent,
    Reaped,
    RunOutcome,
    StopReason,
    StopSignal,
)
from autoscorer.executor.commands import check_command
from autoscorer.executor.docker.preflight import check_gpu_env
from autoscorer.executor.image_names import check_allowed, image_name
from autoscorer.executor.k8s import binding
from autoscorer.executor.k8s.belongings import claim_manifest, ensure_claim, installation, size_bytes
from autoscorer.executor.k8s.client import Cluster, RefusedError, UnreachableError, cluster_errors, connect
from autoscorer.executor.k8s.isolation import isolation_report
from autoscorer.executor.k8s.jobs import (
    create_or_adopt,
    ensure_policy,
    job_metadata,
    reap,
    remove_job,
)
from autoscorer.executor.k8s.logs import PodLog
from autoscorer.executor.k8s.manifest import TERMINATE_GRACE_S, job_manifest
from autoscorer.executor.k8s.naming import content_digest, job_name
from autoscorer.executor.k8s.outcomes import ended_outcome, inspected, run_facts
from autoscorer.executor.k8s.streaming import sidecar_of
from autoscorer.executor.k8s.verdicts import Means
from autoscorer.executor.k8s.waiting import PodEnd, Vigil, duration_s, to_error
from autoscorer.executor.k8s.watch import PodWatch
from autoscorer.executor.ownership import Owner, process_is_alive
from autoscorer.executor.streaming.packing import Package
from autoscorer.executor.streaming.transfer import bring_in, take_output
from autoscorer.harvest import Harvest, HarvestPolicy
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError

if TYPE_CHECKING:  # a job needs no probes
    from autoscorer.confine.probes import Diagnosis

STOP_WITHIN_S = 30.0
LEFT_TO_THE_NEXT = (StopReason.WORKER_STOPPED, StopReason.LEASE_LOST)
ARCHIVES = ("image.tar", "image.tar.gz")


class _Attempt:
    """What the steps of one attempt leave for each other."""

    def __init__(self, cluster: Cluster, *, owner: Owner, name: str, image: str, stop: StopSignal) -> None:
        self.cluster = cluster
        self.owner = owner
        self.name = name
        self.image = image
        self.stop = stop
        self.made = ExitStack()
        self.bound: binding.Bound | None = None
        self.belongs_to: list[dict[str, Any]] = []
        self.is_created = False
        self.is_running = False
        self.is_left = False
        self.end: PodEnd | None = None
        self.pull_seconds: float | None = None
        self.log: PodLog | None = None
        self.watch: PodWatch
        self.vigil: Vigil

    def remove(self, *, grace_s: int) -> None:
        """Its Job, if it is ours still. What stays now, a later sweep removes, or the Job's own deadline."""
        with suppress(RefusedError, UnreachableError):
            remove_job(self.cluster, self.name, if_of=lambda owner: owner == self.owner, grace_s=grace_s)


class K8sExecutor(Executor):
    """Runs each attempt as a Job in K8S_NAMESPACE; its data come by K8S_TRANSPORT."""

    name = "k8s"
    adopts = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._attempts: dict[Path, _Attempt] = {}

    def prepare(self, plan: AttemptPlan, *, stop: StopSignal, on_event: OnEvent) -> None:
        check_command(plan, may_be_empty=True)
        name = image_name(plan.image)
        check_allowed(name, self._settings.image_allowlist)
        if plan.limits.gpus:
            check_gpu_env(plan.env)
        for archive in ARCHIVES:
            if (plan.spec_path.parent / archive).exists():
                on_event("image_archive_ignored", {"file": archive, "reason": "a cluster takes no archive"})
        with ExitStack() as undo:
            cluster = undo.enter_context(connect(self._settings))
            with cluster_errors("looking for the namespace"):
                cluster.call("GET", cluster.path("pods"), query={"limit": "1"})
            ensure_policy(cluster)
            with suppress(AutoscorerError):  # what cannot be removed at once keeps no job from running
                # This very attempt may be taken up where a process that is dead has left it; and what was
                # under a lease, by whoever has the job next: the service's maintenance knows of those.
                reap(cluster, _is_leased_or_alive, but=job_name(plan))
            owner = Owner.this_process(plan.lease)
            attempt = _Attempt(cluster, owner=owner, name=job_name(plan), image=str(name), stop=stop)
            attempt.belongs_to = installation(cluster, self._settings.k8s_owner)
            self._attempts[plan.attempt_dir] = attempt
            undo.pop_all()

    def stage_in(self, plan: AttemptPlan) -> None:
        attempt = self._attempts[plan.attempt_dir]
        super().stage_in(plan)
        plan.logs_dir.mkdir(parents=True, exist_ok=True)
        if self._settings.k8s_transport == "bind":
            attempt.bound = binding.bind(plan, self._settings)
            attempt.made.callback(attempt.bound.close)

    def launch(self, plan: AttemptPlan, *, on_event: OnEvent) -> None:
        """Make the Job and wait until its program has started, or will not."""
        attempt, settings = self._attempts[plan.attempt_dir], self._settings
        claimed = attempt.bound.claimed if attempt.bound else None
        package = Package(plan.input_dir, plan.spec_path)
        enclosed = None if claimed else package.enclosed()
        body = job_manifest(
            plan, settings, name=attempt.name, image=attempt.image, claimed=claimed, enclosed=enclosed
        )
        attempt.is_created = True
        with cluster_errors("creating the Job"):
            adopted = create_or_adopt(
                attempt.cluster,
                body,
                content=content_digest(plan, body),
                owner=attempt.owner,
                is_alive=process_is_alive,
                belongs_to=attempt.belongs_to,
            )
            if settings.k8s_storage_class and not claimed:
                self._claim(attempt, plan, settings.k8s_storage_class, package)
        on_event("job_adopted" if adopted else "job_created", {"job": attempt.name})
        attempt.watch = PodWatch(attempt.cluster, attempt.name)
        attempt.made.callback(attempt.watch.close)
        attempt.vigil = Vigil(
            attempt.cluster,
            attempt.watch,
            name=attempt.name,
            start_timeout_s=settings.k8s_start_timeout_s,
            time_limit_s=plan.limits.time_limit_s,
            is_staged=attempt.bound is not None,
            is_enclosed=enclosed is not None,
        )
        attempt.end = attempt.vigil.until_started(
            attempt.stop,
            bring_in=lambda pod: bring_in(sidecar_of(attempt.cluster, pod), package, stop=attempt.stop),
        )
        _refuse(attempt)
        if attempt.end is None:
            attempt.is_running = True
            attempt.pull_seconds = attempt.vigil.pull_seconds()
            started = {"backend": self.name, "job": attempt.name, "pod": attempt.vigil.pod_name}
            on_event("execution_started", started | _facts(attempt))

    def _claim(self, attempt: _Attempt, plan: AttemptPlan, storage_class: str, package: Package) -> None:
        """The Job's own volume: claimed once the Job is there to own it, so that it goes with it."""
        job = job_metadata(attempt.cluster, attempt.name)
        size = size_bytes(plan.limits, package.length)
        claim = claim_manifest(attempt.name, storage_class=storage_class, size=size, job=job)
        ensure_claim(attempt.cluster, claim)

    def wait(self, plan: AttemptPlan, *, stop: StopSignal) -> RunOutcome:
        attempt = self._attempts[plan.attempt_dir]
        breach: dict[str, Any] = {}

        def too_much() -> StopReason | None:
            if attempt.bound and (found := attempt.bound.breach()):
                breach.update(found)
                return StopReason.OUTPUT_LIMIT
            return None

        if attempt.end is None:
            path = plan.logs_dir / "container.log"
            attempt.log = PodLog(attempt.cluster, attempt.vigil.pod_name, path, plan.limits.log_bytes)
            attempt.end = attempt.vigil.until_ended([stop, too_much])
        end, facts = attempt.end, _facts(attempt)
        attempt.is_left = end.stopped in LEFT_TO_THE_NEXT and _is_adoptable(plan, attempt)
        if attempt.is_left:
            facts[LEFT_RUNNING] = True
        complete = attempt.is_left or self._finish(attempt, end)
        _refuse(attempt)
        if attempt.bound and not breach:
            breach.update(attempt.bound.breach(at_end=True) or {})
        return ended_outcome(
            end,
            duration_s=duration_s(end.facts, attempt.vigil.times),
            time_limit_s=plan.limits.time_limit_s,
            stderr_tail=attempt.log.stderr_tail if attempt.log else "",
            log_bytes_dropped=attempt.log.close() if attempt.log else 0,
            log_is_complete=complete,
            breach=breach,
            isolation=isolation_report(
                network=plan.network, network_enforced=self._settings.k8s_network_enforced
            ),
            facts=facts | {"inspect": inspected(attempt.vigil.pod)},
        )

    def output_dir(self, plan: AttemptPlan) -> Path:
        attempt = self._attempts[plan.attempt_dir]
        return attempt.bound.output if attempt.bound else plan.out_dir

    def take_output(self, plan: AttemptPlan, target: Path, policy: HarvestPolicy) -> Harvest:
        attempt = self._attempts[plan.attempt_dir]
        if attempt.bound:
            return super().take_output(plan, target, policy)
        sidecar = sidecar_of(attempt.cluster, attempt.vigil.pod_name)
        return take_output(sidecar, plan.limits, target, policy)

    def clean_up(self, plan: AttemptPlan) -> None:
        attempt = self._attempts.pop(plan.attempt_dir, None)
        if attempt is None:
            return
        try:
            # Who has lost the lease leaves what has ended, too: the task's next attempt harvests it.
            is_lost = attempt.stop() is StopReason.LEASE_LOST and _is_adoptable(plan, attempt)
            if attempt.is_created and not attempt.is_left and not is_lost:
                attempt.remove(grace_s=TERMINATE_GRACE_S if attempt.is_running else 0)
            if attempt.log is not None:
                attempt.log.close()
            attempt.made.close()
        finally:
            attempt.cluster.close()

    def reap(self, is_alive: IsAlive) -> tuple[Reaped, ...]:
        """Raises AutoscorerError when the cluster does not answer: then nothing can be known."""
        with connect(self._settings) as cluster:
            return reap(cluster, is_alive)

    def _finish(self, attempt: _Attempt, end: PodEnd) -> bool:
        """Nothing of the program runs any more afterwards; whether all it printed is here."""
        ended_by_itself = end.stopped is None and end.verdict and end.verdict.means is Means.EXITED
        if not ended_by_itself:
            # A pod whose sidecar waits for data has a hook under way, and a kubelet waits for that.
            attempt.remove(grace_s=TERMINATE_GRACE_S if end.facts.running else 0)
            attempt.vigil.until_gone(within_s=STOP_WITHIN_S)
        attempt.is_running = False
        if attempt.log is None:
            return True
        # Of a pod that is gone there is no more to read than was read.
        return attempt.log.program_ended(wait_s=60.0 if ended_by_itself else 2.0)


def _is_adoptable(plan: AttemptPlan, attempt: _Attempt) -> bool:
    """Whether the task's next attempt can take the Job up. Not where its data lie in this one's folder."""
    return bool(plan.lease) and attempt.bound is None


def _is_leased_or_alive(owner: Owner) -> bool:
    return bool(owner.lease) or process_is_alive(owner)


def _refuse(attempt: _Attempt) -> None:
    verdict = attempt.end.verdict if attempt.end else None
    if verdict and verdict.means is Means.ERROR:
        error = to_error(verdict)
        error.details["inspect"] = inspected(attempt.vigil.pod)
        raise error


def _facts(attempt: _Attempt) -> dict[str, Any]:
    facts = run_facts(attempt.vigil.pod, image=attempt.image, pull_seconds=attempt.pull_seconds)
    return facts | attempt.vigil.times.seconds()


def make_executor(settings: Settings, isolation: str) -> Executor:
    """This backend, as the composition root makes it; a pod is a pod in every mode."""
    return K8sExecutor(settings)


def missing(settings: Settings) -> str | None:
    """Why nothing can run here now, and what to do; whether the cluster answers is not asked."""
    return None if settings.k8s_enabled else "Kubernetes is off; set K8S_ENABLED and say where the cluster is"


def diagnose(settings: Settings) -> Diagnosis:
    """What the cluster enforces and offers, tried."""
    from autoscorer.executor.k8s.probes import diagnose_cluster

    return diagnose_cluster(settings)
