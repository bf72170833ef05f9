"""The Docker backend on several nodes: each attempt goes to one of them and stays there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from autoscorer.executor.base import (
    AttemptPlan,
    Collect,
    Executor,
    IsAlive,
    OnEvent,
    Reaped,
    RunOutcome,
    StopSignal,
    leave_output,
)
from autoscorer.executor.failures import stopped_early
from autoscorer.executor.nodes.pool import IMAGE_NOT_HAD, NodePool, Seat, may_run_elsewhere
from autoscorer.executor.nodes.ranking import Request, nothing_fits
from autoscorer.harvest import Harvest, HarvestPolicy
from autoscorer.utils.config import Node
from autoscorer.utils.errors import AutoscorerError

LOOK_AGAIN_S = 1.0
AWAITED, CHOSEN = "node_awaited", "node_chosen"


class _Placed:
    """One attempt on its node."""

    def __init__(self, seat: Seat, executor: Executor, waited_s: float) -> None:
        self.seat = seat
        self.executor = executor
        self.waited_s = waited_s


class PlacedExecutor(Executor):
    """Waits for a node that can have the job, at most ``wait_s``, and runs it with that node's executor."""

    name = "docker"

    def __init__(
        self,
        pool: NodePool,
        make: Callable[[Node], Executor],
        *,
        wait_s: float,
        look_again_s: float = LOOK_AGAIN_S,
    ) -> None:
        self._pool = pool
        self._make = make
        self._wait_s = wait_s
        self._look_again_s = look_again_s
        self._placed: dict[Path, _Placed] = {}

    def run(
        self, plan: AttemptPlan, *, stop: StopSignal, on_event: OnEvent, collect: Collect = leave_output
    ) -> RunOutcome:
        ended: BaseException | None = None
        try:
            return super().run(plan, stop=stop, on_event=on_event, collect=collect)
        except BaseException as exc:  # clean-up, then up it goes: the node must hear how it ended
            ended = exc
            raise
        finally:
            if (placed := self._placed.pop(plan.attempt_dir, None)) is not None:
                placed.seat.leave(ended)

    def prepare(self, plan: AttemptPlan, *, stop: StopSignal, on_event: OnEvent) -> None:
        """Find a node and prepare the attempt there; one that fails or lacks the image is passed over.

        Raises at once what the registry refuses when each node with room for the job has been tried. In the
        end, when no other node is to be waited for, raises the image's error if that kept it from one, else
        RESOURCE_UNAVAILABLE. CANCELLED when it is to stop meanwhile.
        """
        asked_at = time.monotonic()
        with self._pool.request(gpus=plan.limits.gpus, attempt=str(plan.attempt_dir)) as request:
            while plan.attempt_dir not in self._placed:
                seat = self._seat(request, asked_at=asked_at, stop=stop, on_event=on_event)
                waited_s = round(time.monotonic() - asked_at, 3)
                try:
                    placed = _Placed(seat, self._make(seat.node), waited_s)
                    on_event(CHOSEN, {"node": seat.node.name, "scheduling_seconds": waited_s})
                    placed.executor.prepare(plan, stop=stop, on_event=on_event)
                except BaseException as exc:  # clean-up: the node hears how it ended
                    seat.leave(exc)
                    if not isinstance(exc, AutoscorerError) or not may_run_elsewhere(exc):
                        raise
                    request.failed[seat.node.name] = exc
                    on_event("node_failed", {"node": seat.node.name, "code": exc.code, "reason": exc.message})
                else:
                    self._placed[plan.attempt_dir] = placed

    def _seat(self, request: Request, *, asked_at: float, stop: StopSignal, on_event: OnEvent) -> Seat:
        is_told = False
        while True:
            found = self._pool.place(request)
            if isinstance(found, Seat):
                return found
            if (refused := _refused(request)) is not None:
                raise refused
            may_pass = any(row.passes for row in found)
            if not may_pass or time.monotonic() - asked_at >= self._wait_s:
                raise _without_image(request, in_vain=may_pass) or nothing_fits(found, gpus=request.gpus)
            if not is_told:
                is_told = True
                on_event(AWAITED, {"gpus": request.gpus, "nodes": {row.node: row.why for row in found}})
            if (reason := stop()) is not None:
                raise stopped_early(reason, "while it waited for a node")
            threading.Event().wait(self._look_again_s)

    def stage_in(self, plan: AttemptPlan) -> None:
        self._placed[plan.attempt_dir].executor.stage_in(plan)

    def launch(self, plan: AttemptPlan, *, on_event: OnEvent) -> None:
        placed = self._placed[plan.attempt_dir]
        placed.executor.launch(plan, on_event=on_event)
        placed.seat.began()

    def wait(self, plan: AttemptPlan, *, stop: StopSignal) -> RunOutcome:
        placed = self._placed[plan.attempt_dir]
        outcome = placed.executor.wait(plan, stop=stop)
        told = {"node": placed.seat.node.name, "scheduling_seconds": placed.waited_s}
        return replace(outcome, details={**outcome.details, **told})

    def output_dir(self, plan: AttemptPlan) -> Path:
        return self._placed[plan.attempt_dir].executor.output_dir(plan)

    def take_output(self, plan: AttemptPlan, target: Path, policy: HarvestPolicy) -> Harvest:
        return self._placed[plan.attempt_dir].executor.take_output(plan, target, policy)

    def clean_up(self, plan: AttemptPlan) -> None:
        if (placed := self._placed.get(plan.attempt_dir)) is not None:
            placed.executor.clean_up(plan)

    def reap(self, is_alive: IsAlive) -> tuple[Reaped, ...]:
        """On every node. Raises AutoscorerError in the end if one did not answer; the others are clean."""
        removed: list[Reaped] = []
        silent: dict[str, str] = {}
        for node in self._pool.nodes:
            try:
                removed += self._make(node).reap(is_alive)
            except (AutoscorerError, OSError) as exc:
                silent[node.name] = str(exc)
        if silent:
            message = f"What was left on {', '.join(silent)} could not be looked for."
            details = {"nodes": silent, "removed": [row.name for row in removed]}
            raise AutoscorerError("RESOURCE_UNAVAILABLE", message, details, cause="nodes")
        return tuple(removed)


def _refused(request: Request) -> AutoscorerError | None:
    """What the participant has to mend, however other nodes stand: a registry refuses the image.

    That the image is merely absent at a node says nothing of the others, so it is none of these.
    """
    errors = request.failed.values()
    mended = (error for error in errors if error.blame == "participant" and error.code != "IMAGE_NOT_PRESENT")
    return next(mended, None)


def _without_image(request: Request, *, in_vain: bool) -> AutoscorerError | None:
    """Why the nodes that were tried do not have the job's image; the participant's fault goes first.

    None if there is no such reason, or if one failed otherwise: it may have the image at the job's next try,
    which is left out after others were waited for ``in_vain``, for it would wait as long again.
    """
    errors = [error for error in request.failed.values() if error.code in IMAGE_NOT_HAD]
    if not in_vain and len(errors) < len(request.failed):
        return None
    return next((error for error in errors if error.blame == "participant"), errors[-1] if errors else None)
