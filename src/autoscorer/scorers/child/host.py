"""Scorers in a process of their own: the parent's side, as a host for the catalogue."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoscorer.confine.caps import Caps
from autoscorer.confine.cgroups import own_homes
from autoscorer.confine.watch import OutputWatch
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.child import verdicts
from autoscorer.scorers.child.birth import Birth, Ended, Stop
from autoscorer.scorers.child.nursery import Nursery, Warmth
from autoscorer.scorers.child.views import ARTIFACTS, TMP, files_of, has_small_files_only, pinned_descriptors
from autoscorer.scorers.child.walls import isolation
from autoscorer.scorers.host import Code, Entry, IsStopped, Scoring, never
from autoscorer.utils.artifacts import temporary_folder
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError

MAX_TASKS = 512
MAX_OPEN_FILES = 256  # each may be a file that was unlinked, which the output limit does not see
FIXED_FILES = 64
MAX_ARTIFACTS = 1000
SPARE_ENTRIES = 100  # as many more can be made, so that the limit can be named
ACCEPTED_KEPT, ACCEPTED_BYTES = 256, 16 * 1024  # parameters that scorers have accepted, and of each at most
SMALL_FILE_BYTES = 2**20  # what `reading` takes for small
FILE_SLACK_BYTES = 2**20  # one file may just pass the output limit, so that the watch can name it


class ChildHost:
    """Computes each score in a fork of a zygote that never computes. Safe to use from several threads.

    ``warm``: the zygote imports the scorers and their libraries at once, for whoever scores often. Then our
    own scorers have a lighter one for small files, which are most of what comes often.
    """

    def __init__(self, settings: Settings, *, warm: bool = False) -> None:
        self._settings = settings
        self._nursery = Nursery(Warmth.FULL if warm else Warmth.COLD)
        self._light_nursery = Nursery(Warmth.LIGHT) if warm else self._nursery
        self._closed = threading.Event()
        self._homes = own_homes()
        private = (settings.data_dir, settings.workspace_root, settings.scorers_dir, settings.log_dir)
        self._hidden = [path.resolve() for path in private if path is not None]
        machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._memory_bytes = min(settings.scorer_memory_bytes, machine_bytes)
        self._accepted: dict[tuple[str, str], str] = {}
        self._accepted_lock = threading.Lock()

    def check_params(
        self, entry: Entry, params: Mapping[str, Any], *, is_stopped: IsStopped = never
    ) -> dict[str, Any]:
        """See `ScorerHost.check_params`. What declares no parameters is not asked; what has accepted some
        is not asked again, for a scorer is its content."""
        if entry.card.params_schema is None:
            return dict(params)
        key = entry.card.pin, json.dumps(params, sort_keys=True)
        known = self._accepted.get(key)
        if known is None:
            known = json.dumps(self._checked_apart(entry, params, is_stopped))
            with self._accepted_lock:
                if len(key[1]) + len(known) <= ACCEPTED_BYTES:
                    self._accepted[key] = known
                if len(self._accepted) > ACCEPTED_KEPT:
                    del self._accepted[next(iter(self._accepted))]
        return dict(json.loads(known))

    def _checked_apart(
        self, entry: Entry, params: Mapping[str, Any], is_stopped: IsStopped
    ) -> dict[str, Any]:
        request = _of_entry(entry, action="check_params", params=dict(params))
        with temporary_folder() as view:
            nursery = self._nursery_for(entry, view)
            answer, _ = self._ask(request, view, entry.card.name, nursery, is_stopped=is_stopped)
        return verdicts.params_of(answer, entry.card.name)

    def score(
        self, entry: Entry, view: Path, params: Mapping[str, Any], *, is_stopped: IsStopped = never
    ) -> Scoring:
        """See `ScorerHost.score`."""
        name = entry.card.name
        request = _of_entry(entry, action="score", params=dict(params))
        answer, ended = self._ask(request, view, name, self._nursery_for(entry, view), is_stopped=is_stopped)
        used = {
            "scorer_peak_memory_bytes": ended.peak_memory_bytes,
            "scorer_cpu_seconds": ended.cpu_seconds,
        }
        return Scoring(
            result=verdicts.result_of(answer, name),
            params=verdicts.params_of(answer, name),
            seconds=ended.seconds,
            resources={key: value for key, value in used.items() if value is not None},
            isolation=isolation(ended.walls, ended.caps_enforced),
        )

    def describe(self, code: Code, sha256: str, *, run_example: bool = True) -> list[ScorerCard]:
        """The scorers ``code`` registers; its own example, if it has one, was scored and compared.

        Raises AutoscorerError SCORER_NOT_FOUND (unloadable); ``details`` has ``file`` and ``line`` where
        they are known, ``example`` where it is the example that fails, ``code`` where its process failed.
        """
        origin = "stored" if code.module is None else "entry_point"
        request = _of_code(code, sha256, action="describe", origin=origin, run_example=run_example)
        name = code.module or (code.path.name if code.path else "")
        with temporary_folder() as view:
            try:
                answer, _ = self._ask(request, view, name, self._nursery)
            except AutoscorerError as exc:
                if exc.code in ("SCORER_NOT_FOUND", "EXEC_ERROR", "CANCELLED"):  # no word on the code
                    raise
                raise verdicts.unloadable(
                    f"{name} cannot be loaded: {exc.message}", {**exc.details, "code": exc.code}
                ) from exc
        return verdicts.cards_of(answer, name, sha256=sha256, origin=origin)

    @property
    def zygote_pid(self) -> int | None:
        """The process id of the zygote, not of the lighter one; None while there is none."""
        return self._nursery.pid

    def close(self) -> None:
        """End every score that still runs (CANCELLED) and the zygotes, for good. Safe to call twice."""
        self._closed.set()
        try:
            self._nursery.close()
        finally:
            self._light_nursery.close()

    def _nursery_for(self, entry: Entry, view: Path) -> Nursery:
        """The lighter one for what it imports enough for: foreign code may import anything."""
        is_light = entry.card.origin == "builtin" and has_small_files_only(view, SMALL_FILE_BYTES)
        return self._light_nursery if is_light else self._nursery

    def _ask(
        self,
        request: dict[str, Any],
        view: Path,
        name: str,
        nursery: Nursery,
        *,
        is_stopped: IsStopped = never,
    ) -> tuple[dict[str, Any], Ended]:
        """The checked answer to ``request``, and how the process ended. A process that was killed
        together with its keeper is tried once more: it may have been another's doing."""
        ended = self._run(request, view, nursery, is_stopped)
        if ended.lost and not self._closed.is_set():
            nursery.make_sure()
            ended = self._run(request, view, nursery, is_stopped)
        limit_s = self._settings.scorer_time_limit_s
        if ended.stopped is Stop.OUTPUT_LIMIT:
            limit = self._settings.scorer_max_output_bytes
            message = f"{name} wrote more artifacts than the {limit} bytes it is allowed"
            raise AutoscorerError("SCORER_BAD_RESULT", message, {"limit_bytes": limit})
        judged = verdicts.judge(ended, name=name, time_limit_s=limit_s, memory_bytes=self._memory_bytes)
        return judged, ended

    def _run(self, request: dict[str, Any], view: Path, nursery: Nursery, is_stopped: IsStopped) -> Ended:
        artifacts = view / "output" / "artifacts"
        artifacts.mkdir(parents=True, exist_ok=True)
        limit = self._settings.scorer_max_output_bytes
        watch = OutputWatch(artifacts, max_bytes=limit, max_entries=MAX_ARTIFACTS)
        pinned = pinned_descriptors(view)
        caps = Caps(
            memory_bytes=self._memory_bytes,
            tasks=MAX_TASKS,
            file_bytes=limit + FILE_SLACK_BYTES,
            # Without a root of its own it gets the pinned files under our numbers.
            open_files=max([MAX_OPEN_FILES, *(number + FIXED_FILES for number in pinned)]),
        )
        code = None if request["path"] is None else Path(request["path"])
        writable = {
            ARTIFACTS: f"mode=0755,size={limit + FILE_SLACK_BYTES},nr_inodes={MAX_ARTIFACTS + SPARE_ENTRIES}",
            TMP: f"mode=1777,size={self._memory_bytes // 2}",
        }
        files = files_of(view, code, pinned=pinned, hidden=self._hidden, writable=writable)
        request = {**request, "workspace": str(view), "pinned": pinned, "files": files}
        birth = Birth(nursery, request, caps, pinned=pinned, homes=self._homes)
        try:
            deadline = time.monotonic() + self._settings.scorer_time_limit_s
            checks: list[Callable[[], Stop | None]] = [
                lambda: Stop.CLOSED if self._closed.is_set() or is_stopped() else None,
                lambda: Stop.OUTPUT_LIMIT if watch.exceeded() else None,
            ]
            ended = birth.wait(deadline=deadline, checks=checks)
            # What was written last counts too: a scorer that ends between two looks is not let off.
            if (written := birth.places.written(max_bytes=limit, max_entries=MAX_ARTIFACTS)) is None:
                exceeded = watch.exceeded(now=True) is not None
            else:
                exceeded = written.exceeds(max_bytes=limit, max_entries=MAX_ARTIFACTS)
            if not exceeded:
                birth.places.take_artifacts(artifacts)
        finally:
            birth.close()
        return replace(ended, stopped=Stop.OUTPUT_LIMIT) if exceeded else ended


def _of_entry(entry: Entry, **more: Any) -> dict[str, Any]:
    return _of_code(entry.code, entry.card.sha256, name=entry.card.name, **more)


def _of_code(code: Code, sha256: str, **more: Any) -> dict[str, Any]:
    path = None if code.path is None else str(code.path.resolve())
    return {"module": code.module, "path": path, "sha256": sha256, **more}
