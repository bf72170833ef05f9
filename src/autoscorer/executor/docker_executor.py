"""The Docker backend: one container for each attempt, with nothing that it does not need."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autoscorer.executor.base import (
    AttemptPlan,
    Executor,
    IsAlive,
    Isolation,
    OnEvent,
    Reaped,
    RunOutcome,
    StopReason,
    StopSignal,
)
from autoscorer.executor.commands import check_command
from autoscorer.executor.docker.client import Engine, connect
from autoscorer.executor.docker.containers import (
    BindSourceMissingError,
    Container,
    EngineSilentError,
    StartRefused,
    remove_container,
)
from autoscorer.executor.docker.image_files import check_image_files
from autoscorer.executor.docker.images import ensure_image
from autoscorer.executor.docker.isolation import isolation_report
from autoscorer.executor.docker.logs import AttachedStream, ContainerLog
from autoscorer.executor.docker.mounting import not_shared, sees_files
from autoscorer.executor.docker.offers import check_gpus, check_network, security_opts_for
from autoscorer.executor.docker.outcomes import Measured, ended_outcome, inspected, refused_outcome, run_facts
from autoscorer.executor.docker.planning import (
    NOBODY,
    container_name,
    container_plan,
    owner_labels,
)
from autoscorer.executor.docker.presence import free_gpus, with_gpus_alone
from autoscorer.executor.docker.readable import check_readable, container_user
from autoscorer.executor.docker.reaper import Journal, Trace, reap, reap_quietly
from autoscorer.executor.docker.rooms import Room, SharedRoom
from autoscorer.executor.docker.sidecar import ensure_sidecar_image
from autoscorer.executor.docker.streaming import StreamedRoom
from autoscorer.executor.docker.types import Binding, RunnableImage
from autoscorer.executor.docker.usage import UsageMeter
from autoscorer.executor.docker.waiting import Vigil
from autoscorer.executor.ownership import Owner, process_is_alive
from autoscorer.harvest import Harvest, HarvestPolicy
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError

if TYPE_CHECKING:  # a job needs no probes
    from autoscorer.confine.probes import Diagnosis

JOURNAL = "attempts"
CHECKED_IMAGES = "checked-images"


class _Attempt:
    """What the steps of one attempt leave for each other."""

    def __init__(
        self,
        engine: Engine,
        image: RunnableImage,
        trace: Trace,
        security_opts: tuple[str, ...],
        *,
        stop: StopSignal,
    ) -> None:
        self.engine = engine
        self.image = image
        self.trace = trace
        self.user = container_user()
        self.security_opts = security_opts
        self.stop = stop
        self.is_gone = False
        self.sidecar_image: RunnableImage | None = None  # where the data are streamed
        self.room: Room | None = None
        self.container: Container
        self.log: ContainerLog | None = None
        self.stream: AttachedStream | None = None
        self.refused: StartRefused | None = None
        self.started_at = 0.0


class DockerExecutor(Executor):
    """Runs each attempt in a container of its own on the engine at DOCKER_HOST; data by DOCKER_TRANSPORT."""

    name = "docker"

    def __init__(
        self, settings: Settings, *, also_shown: tuple[Binding, ...] = (), declared_gpus: int = 0
    ) -> None:
        """``also_shown`` is mounted besides the workspace; no job has any."""
        self._settings = settings
        self._declared_gpus = declared_gpus
        self._also_shown = also_shown
        self._journal = Journal(settings.data_dir / JOURNAL)
        self._attempts: dict[Path, _Attempt] = {}

    def prepare(self, plan: AttemptPlan, *, stop: StopSignal, on_event: OnEvent) -> None:
        check_command(plan, may_be_empty=True)
        check_readable(plan.input_dir, container_user())
        with ExitStack() as undo:
            engine = undo.enter_context(connect(self._settings))
            # A connection of its own for every call: see `waiting.Vigil`.
            engine.api.headers["Connection"] = "close"
            trace = self._new_trace(plan)
            self._journal.write(trace)
            undo.callback(self._journal.cross_out, trace.name)
            reap_quietly(engine, self._journal, process_is_alive, engine_host=self._settings.docker_host)
            check_gpus(plan.limits.gpus, engine.facts(), declared=self._declared_gpus)
            check_network(plan.network, engine)
            workspace_dir = plan.spec_path.parent
            image = ensure_image(engine, plan, self._settings, workspace_dir, on_event, stop=stop)
            options = security_opts_for(self._settings.security_opts, engine.facts())
            attempt = _Attempt(engine, image, trace, options, stop=stop)
            if self._is_far(engine, plan):  # now: an engine where the data cannot come is passed over
                attempt.sidecar_image = ensure_sidecar_image(engine, self._settings, on_event, stop=stop)
            self._attempts[plan.attempt_dir] = attempt
            undo.pop_all()

    def stage_in(self, plan: AttemptPlan) -> None:
        attempt = self._attempts[plan.attempt_dir]
        plan.attempt_dir.mkdir(parents=True, exist_ok=True)
        plan.attempt_dir.chmod(0o700)
        plan.logs_dir.mkdir(parents=True, exist_ok=True)
        if attempt.sidecar_image is not None:
            self._stream(plan, attempt, attempt.sidecar_image)
        else:
            may_mount = os.geteuid() == 0 and attempt.engine.facts().local
            attempt.room = SharedRoom(plan, attempt.trace.name, capped=may_mount)

    def _is_far(self, engine: Engine, plan: AttemptPlan) -> bool:
        """Whether the data are streamed. Raises RESOURCE_UNAVAILABLE when they must be mounted and cannot."""
        wanted = self._settings.docker_transport
        if wanted == "stream" or sees_files(engine, plan.attempt_dir, plan.input_dir):
            return wanted == "stream"
        if wanted == "bind":
            raise not_shared()
        return True

    def _stream(self, plan: AttemptPlan, attempt: _Attempt, image: RunnableImage) -> None:
        """Bring the data onto a volume of the engine instead of any folder of ours."""
        name = attempt.trace.name
        attempt.room = room = StreamedRoom(
            attempt.engine,
            plan,
            image,
            name=name,
            labels=owner_labels(plan, name=name, owner=str(attempt.trace.owner)),
            user=attempt.user,
            security_opts=attempt.security_opts,
        )
        room.fill(stop=attempt.stop)

    def launch(self, plan: AttemptPlan, *, on_event: OnEvent) -> None:
        attempt = self._attempts[plan.attempt_dir]
        check_image_files(
            attempt.engine,
            attempt.image,
            name=attempt.trace.name,
            labels=owner_labels(plan, name=attempt.trace.name, owner=str(attempt.trace.owner)),
            checked=self._settings.data_dir / CHECKED_IMAGES,
        )
        attempt.log = ContainerLog(plan.logs_dir / "container.log", plan.limits.log_bytes)
        try:
            self._start(plan, attempt, init=True)
        except LookupError:
            attempt.container.remove()
            self._start(plan, attempt, init=False)
        on_event(
            "execution_started",
            {
                "backend": self.name,
                "container": attempt.trace.name,
                "transport": _room(attempt).transport,
                **run_facts(attempt.image, attempt.engine.facts()),
            },
        )

    def wait(self, plan: AttemptPlan, *, stop: StopSignal) -> RunOutcome:
        attempt = self._attempts[plan.attempt_dir]
        room = _room(attempt)
        isolation, facts = self._report(plan, attempt), run_facts(attempt.image, attempt.engine.facts())
        if attempt.refused is not None or attempt.stream is None or attempt.log is None:
            refused = attempt.refused or StartRefused(exit_code=127, reason="")
            return refused_outcome(refused, isolation=isolation, facts=facts)
        meter = _meter(attempt)
        vigil = Vigil(
            attempt.container,
            attempt.stream,
            attempt.log,
            meter,
            started_at=attempt.started_at,
            time_limit_s=plan.limits.time_limit_s,
        )
        checks: list[Callable[[], StopReason | None]] = [
            stop,
            lambda: StopReason.OUTPUT_LIMIT if room.breach() else None,
        ]
        try:
            # A program that eats disk would use a grace to eat more.
            end = vigil.watch(checks, at_once=(StopReason.OUTPUT_LIMIT,))
        finally:
            attempt.stream = vigil.stream
        if end.gap is None:
            attempt.is_gone = attempt.container.remove()
        measured = Measured(
            peak_memory_bytes=meter.peak_memory_bytes if meter else None,
            cpu_seconds=meter.cpu_seconds if meter else None,
            oom_kills=meter.oom_kills if meter else 0,
            stderr_tail=attempt.log.stderr_tail,
            log_bytes_dropped=attempt.log.close(),
        )
        return ended_outcome(
            end,
            measured,
            breach=room.breach(at_end=True) if end.gap is None else None,
            output_is_capped=room.prepared.output_is_capped,
            isolation=isolation,
            facts=facts,
        )

    def output_dir(self, plan: AttemptPlan) -> Path:
        return _room(self._attempts[plan.attempt_dir]).output_dir

    def take_output(self, plan: AttemptPlan, target: Path, policy: HarvestPolicy) -> Harvest:
        return _room(self._attempts[plan.attempt_dir]).take(target, policy)

    def clean_up(self, plan: AttemptPlan) -> None:
        attempt = self._attempts.pop(plan.attempt_dir, None)
        if attempt is None:
            return
        try:
            if attempt.stream is not None:
                attempt.stream.close()
            if attempt.log is not None:
                attempt.log.close()
            self._leave_nothing(attempt)
        finally:
            attempt.engine.close()

    def reap(self, is_alive: IsAlive) -> tuple[Reaped, ...]:
        """Raises AutoscorerError when the engine does not answer: then nothing can be known."""
        with connect(self._settings) as engine:
            return reap(engine, self._journal, is_alive, engine_host=self._settings.docker_host)

    def _new_trace(self, plan: AttemptPlan) -> Trace:
        return Trace(
            name=container_name(plan, secrets.token_hex(16)),
            owner=Owner.this_process(plan.lease),
            folder=plan.attempt_dir,
            engine=self._settings.docker_host,
        )

    def _start(self, plan: AttemptPlan, attempt: _Attempt, *, init: bool) -> None:
        """Create, attach, start. Raises LookupError when the engine has no docker-init."""

        def create() -> Container:
            try:
                return self._create(plan, attempt, init=init)
            except BindSourceMissingError:
                return self._create_uncapped(plan, attempt, init=init)

        attempt.container = (
            with_gpus_alone(
                attempt.engine,
                attempt.trace.name,
                create,
                present=self._present_gpus(attempt.engine),
                may_share=not self._declared_gpus,  # nobody has waited for an engine that is no node
            )
            if plan.limits.gpus
            else create()
        )
        if attempt.stream is not None:
            attempt.stream.close()
        attempt.stream = attempt.container.attach()
        attempt.refused = _begin(attempt.container)
        attempt.started_at = time.monotonic()

    def _create_uncapped(self, plan: AttemptPlan, attempt: _Attempt, *, init: bool) -> Container:
        """The engine does not see what it should mount: perhaps only our mounts, else none of our files."""
        room = _room(attempt)
        if isinstance(room, SharedRoom) and room.prepared.output_is_capped:
            room.uncap()
            with suppress(BindSourceMissingError):
                return self._create(plan, attempt, init=init)
        raise not_shared()

    def _create(self, plan: AttemptPlan, attempt: _Attempt, *, init: bool) -> Container:
        body = container_plan(
            plan,
            attempt.image,
            _room(attempt).prepared,
            owner=str(attempt.trace.owner),
            user=attempt.user,
            security_opts=attempt.security_opts,
            gpu_ids=free_gpus(
                attempt.engine, asked=plan.limits.gpus, present=self._present_gpus(attempt.engine)
            ),
        )
        body = replace(body, bindings=(*body.bindings, *self._also_shown))
        return Container.create(attempt.engine, body, init=init)

    def _present_gpus(self, engine: Engine) -> int:
        return max(self._declared_gpus, engine.facts().gpus)

    def _report(self, plan: AttemptPlan, attempt: _Attempt) -> Isolation:
        return isolation_report(
            attempt.engine.facts(),
            network=plan.network,
            security_opts=attempt.security_opts,
            host_user_differs=attempt.user == NOBODY,
            init=attempt.container.init,
            output_is_capped=_room(attempt).prepared.output_is_capped,
            warnings=attempt.container.warnings,
        )

    def _leave_nothing(self, attempt: _Attempt) -> None:
        """What cannot be removed now is written down, for the next run or `autoscorer clean`."""
        gone = attempt.is_gone or remove_container(attempt.engine, attempt.trace.name)
        if attempt.room is not None:
            gone = attempt.room.close() and gone
        if gone:
            self._journal.cross_out(attempt.trace.name)
        else:
            self._journal.write(replace(attempt.trace, over=True))


def _begin(container: Container) -> StartRefused | None:
    """Start it. What the engine says of a container that it could not start goes with the error."""
    try:
        return container.start()
    except AutoscorerError as exc:
        with suppress(EngineSilentError, LookupError):
            exc.details["inspect"] = inspected(container.state().raw)
        raise


def _room(attempt: _Attempt) -> Room:
    assert attempt.room is not None  # `stage_in` has made it
    return attempt.room


def _meter(attempt: _Attempt) -> UsageMeter | None:
    with suppress(EngineSilentError, LookupError):
        state = attempt.container.state()
        # Behind a forwarded socket the engine's processes are another machine's.
        is_near = _room(attempt).transport == "bind"
        meter = UsageMeter(attempt.container, state, local=attempt.engine.facts().local and is_near)
        meter.sample()
        return meter
    return None


def make_executor(settings: Settings, isolation: str, *, declared_gpus: int = 0) -> Executor:
    """This backend, as the composition root makes it; a container is a container in every mode."""
    return DockerExecutor(settings, declared_gpus=declared_gpus)


def missing(settings: Settings) -> str | None:
    """Why nothing can run here now, and what to do; None if an engine answers."""
    from autoscorer.executor.docker.client import answers

    if answers(settings):
        return None
    return f"no engine answers at {settings.docker_host}; install Docker, start dockerd, or set DOCKER_HOST"


def diagnose(settings: Settings) -> Diagnosis:
    """What the engine at DOCKER_HOST enforces, tried in containers of its own."""
    from autoscorer.executor.docker.probes import diagnose_engine

    return diagnose_engine(settings)
