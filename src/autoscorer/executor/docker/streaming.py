"""The attempt's data streamed to its engine: a volume there, and a sidecar container of ours beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoscorer.executor.base import AttemptPlan, StopSignal
from autoscorer.executor.docker.client import Engine, engine_text
from autoscorer.executor.docker.commands import ExecCommand
from autoscorer.executor.docker.containers import REMOVE_TRIES, Container, EngineSilentError
from autoscorer.executor.docker.planning import Prepared
from autoscorer.executor.docker.sidecar import (
    ROOT,
    make_volume,
    preface,
    remove_sidecar,
    sidecar_body,
    start_sidecar,
)
from autoscorer.executor.docker.types import RunnableImage
from autoscorer.executor.failures import stopped_early
from autoscorer.executor.streaming import scripts
from autoscorer.executor.streaming.packing import Package
from autoscorer.executor.streaming.transfer import Sidecar, StoppedError, bring_in, take_output
from autoscorer.harvest import Harvest, HarvestPolicy
from autoscorer.utils.errors import AutoscorerError

LOOK_INTERVAL_S = 0.5
PROPAGATION = "rslave"  # an engine asks for it where the source lies in its own data folder
_OVER = {scripts.OVER_BYTES: "bytes", scripts.OVER_ENTRIES: "entries", scripts.OVER_DEPTH: "depth"}
_STOPPED_FROM_OUTSIDE = (0, 143, 137)  # by a signal, which no program can send it


class StreamedRoom:
    """The transport *stream*. `fill` comes first."""

    transport = "stream"

    def __init__(
        self,
        engine: Engine,
        plan: AttemptPlan,
        image: RunnableImage,
        *,
        name: str,
        labels: Mapping[str, str],
        user: str,
        security_opts: tuple[str, ...],
    ) -> None:
        self._engine = engine
        self._plan = plan
        self._name = name
        self._labels = labels
        self._user = user
        self._body = sidecar_body(
            image, plan.limits, name=name, labels=labels, user=user, security_opts=security_opts
        )
        self._sidecar: Container | None = None
        self._next_look_at = 0.0
        self.output_dir = plan.out_dir
        self.prepared: Prepared

    def fill(self, *, stop: StopSignal) -> None:
        """Make the volume and bring the data in. Raises AutoscorerError."""
        package = Package(self._plan.input_dir, self._plan.spec_path)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        home = make_volume(self._engine, self._name, self._labels)
        sidecar_id = start_sidecar(self._engine, self._name, self._body)
        self._sidecar = Container(self._engine, sidecar_id, (), init=False)
        try:
            bring_in(self._commands(ROOT), package, stop=stop)
        except StoppedError as exc:
            raise stopped_early(exc.reason, "before its container was made") from exc
        except EngineSilentError as exc:
            message = "The engine was lost while the job's data were brought in."
            raise AutoscorerError("CONTAINER_WAIT_FAILED", message) from exc
        self.prepared = Prepared(
            name=self._name,
            input_dir=home / "workspace" / "input",
            out_dir=home / "output",
            spec_copy=home / "workspace" / scripts.LAST_MEMBER,
            hosts=home / "hosts",
            output_is_capped=False,
            propagation=PROPAGATION,
        )

    def breach(self, *, at_end: bool = False) -> Mapping[str, Any] | None:
        """Raises OUTPUT_INVALID at the end if the program left the sidecar no room to look."""
        now = time.monotonic()
        if self._sidecar is None or (now < self._next_look_at and not at_end):
            return None
        self._next_look_at = now + LOOK_INTERVAL_S
        try:
            state = self._sidecar.state()
        except (EngineSilentError, LookupError):
            return (
                None  # who watches the program sees that the engine is away; who takes, that the sidecar is
            )
        if state.running:
            return None
        if state.exit_code in _OVER:
            return {"over": _OVER[state.exit_code]}
        if at_end and (state.oom_killed or state.exit_code not in _STOPPED_FROM_OUTSIDE):
            message = "The output could not be watched: the program left no room for it."
            raise AutoscorerError("OUTPUT_INVALID", message, {"exit_code": state.exit_code})
        return None

    def take(self, target: Path, policy: HarvestPolicy) -> Harvest:
        return take_output(self._commands(self._user), self._plan.limits, target, policy)

    def close(self) -> bool:
        self._sidecar = None
        return remove_sidecar(self._engine, self._name, tries=REMOVE_TRIES)

    def _commands(self, user: str) -> Sidecar:
        sidecar = self._sidecar
        assert sidecar is not None
        return Sidecar(
            run=lambda command, *, takes_input: ExecCommand(
                self._engine, sidecar.container_id, command, user=user, takes_input=takes_input
            ),
            lost=(EngineSilentError,),
            said=engine_text,
            preface=preface(),
        )
