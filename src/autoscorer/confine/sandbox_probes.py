"""What the local backend enforces on this machine: its sandbox, attacked from inside."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from autoscorer.confine.bubblewrap import Sandbox
from autoscorer.confine.caps import Caps
from autoscorer.confine.plain import plain_command
from autoscorer.confine.probes import LOG_BYTES, Bounds, Look, Probe, Prober, Trial
from autoscorer.confine.spawn import Confined
from autoscorer.confine.view import View
from autoscorer.confine.watch import OutputWatch

_AMPLE_BYTES = 2**30


def probe_isolation(*, hardened: bool = True) -> list[Probe]:
    """Attack each property and say what held; ``hardened=False`` shows the attacks without a sandbox."""
    with LocalProber(hardened=hardened) as prober:
        return prober.attack()


class LocalProber(Prober):
    """Runs each attack in bubblewrap, or without it as a control."""

    def __init__(self, *, hardened: bool) -> None:
        super().__init__()
        self._hardened = hardened

    def run(
        self, folder: Path, program: tuple[str, ...], bounds: Bounds, look: Look = lambda _output: None
    ) -> Trial:
        view = _view(folder)
        watch = OutputWatch(view.out_dir, max_bytes=bounds.output_bytes or _AMPLE_BYTES, max_entries=10_000)
        caps = Caps(memory_bytes=bounds.memory_bytes, tasks=bounds.tasks, cpu_cores=bounds.cpu_cores)
        log_path = folder / "log"
        with ExitStack() as resources:
            if self._hardened:
                sandbox = Sandbox(view, program)
                resources.callback(sandbox.close)
                command = sandbox.command
            else:
                command = plain_command(view, program)
            running = Confined(command, caps, log_path=log_path, log_bytes=LOG_BYTES)
            resources.callback(running.close)
            deadline = running.started_at + bounds.time_limit_s
            ended = running.wait(
                [
                    lambda: "time" if time.monotonic() >= deadline else None,
                    lambda: "memory" if running.memory.over_cap() else None,
                    lambda: "output" if watch.exceeded() is not None else None,
                ]
            )
            look(view.out_dir)
        return Trial(
            exit_code=ended.exit_code,
            duration_s=ended.duration_s,
            over_output=ended.stopped == "output",
            stderr_tail=ended.stderr_tail,
            log_bytes=log_path.stat().st_size,
        )


def _view(folder: Path) -> View:
    for name in ("out", "home"):
        (folder / name).mkdir()
    return View(
        input_dir=folder / "input",
        out_dir=folder / "out",
        spec_path=folder / "meta.json",
        home_dir=folder / "home",
        tmp_bytes=2**20,
        shm_bytes=2**20,
        hidden=(folder,),
    )
