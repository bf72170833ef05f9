"""Scorers: list, load, load again, try, watch. No restart is needed for any of it."""

from __future__ import annotations

import threading
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from autoscorer import runtime
from autoscorer.access.policy import Permission, Reach
from autoscorer.access.principal import Principal, not_found
from autoscorer.api.answers import Answer, answer
from autoscorer.api.deps import GivenService, make_router, may
from autoscorer.api.scorer_files import load_warnings, loaded_data, record, scorers_dir, source_of, who
from autoscorer.api.service import Service
from autoscorer.api.views import audience_of
from autoscorer.api.watches import Watch
from autoscorer.reports.audience import Audience
from autoscorer.schemas.service import LoadRequest, TrialRequest, WatchRequest, WorkspacePath
from autoscorer.scorers.library import Loaded
from autoscorer.testing.examination import examine
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event

router = make_router("scorers", prefix="/scorers")
Reader = Annotated[Principal, may(Permission.READ_SCORERS)]
Manager = Annotated[Principal, may(Permission.MANAGE_SCORERS)]
_TRIALS = threading.BoundedSemaphore(2)  # a trial scores the data many times over


class ScorerList(BaseModel):
    """Scorers, each with what it says of itself; ``failures`` are sources that could not be loaded."""

    scorers: list[dict[str, Any]]
    failures: list[dict[str, Any]]


class LoadedView(BaseModel):
    """What a load brought, the names it took and from whom, the names it left without code."""

    loaded: list[dict[str, Any]]
    replaced: dict[str, str]
    left: list[str]


class TrialView(BaseModel):
    """The workspace's result, and how each contract ended."""

    scorer: dict[str, Any]
    passed: bool
    result: dict[str, Any] | None
    contracts: list[dict[str, Any]]


class WatchView(BaseModel):
    """A file or folder that this process watches, and the latest that happened there."""

    file_path: str
    since: str
    events: list[dict[str, Any]]


class WatchList(BaseModel):
    """Everything that this process watches."""

    watches: list[WatchView]


class Unwatched(BaseModel):
    """What is not to be watched any more; all of SCORERS_DIR without a path."""

    model_config = ConfigDict(extra="forbid")

    file_path: WorkspacePath = "."


@router.get("", response_model=Answer[ScorerList], summary="The scorers that jobs may name")
def list_scorers(service: GivenService, principal: Reader) -> Response:
    """With metric, direction and parameters; why files could not be loaded is for organisers."""
    cards = [entry.card.model_dump(mode="json", exclude={"example"}) for entry in service.catalog.entries()]
    failures = _failures(service) if audience_of(principal) is Audience.ORGANISER else []
    return answer(ScorerList(scorers=cards, failures=failures))


@router.post("/load", response_model=Answer[LoadedView], summary="Load the scorers of a file")
def load_scorers(service: GivenService, principal: Manager, asked: LoadRequest) -> Response:
    """A copy is checked in a process apart and kept; until it has passed, the last good one serves."""
    source = source_of(service, asked.file_path)
    return _load(service, principal, source, replace=asked.replace)


@router.post("/reload", response_model=Answer[LoadedView], summary="Load a file again")
def reload_scorers(service: GivenService, principal: Manager, asked: LoadRequest) -> Response:
    """Named by its path, or by the name of a scorer that came from it."""
    source = source_of(service, asked.file_path, or_name=True)
    return _load(service, principal, source, replace=asked.replace)


@router.post("/test", response_model=Answer[TrialView], summary="Try a scorer on a workspace")
def try_scorer(service: GivenService, principal: Manager, asked: TrialRequest) -> Response:
    """Score its `output/` and try every contract; nothing is written."""
    place = service.homes.workspace(asked.workspace, principal)
    if not _TRIALS.acquire(blocking=False):
        message = "Other trials are under way; try again in a moment."
        raise AutoscorerError("RATE_LIMITED", message, {"retry_after_s": 10})
    try:
        found = examine(
            service.catalog,
            service.catalog.find(asked.scorer_name),
            workspace=place.path,
            params=asked.params,
            other_host=lambda: runtime.open_catalog(service.settings, isolate=True),
        )
    finally:
        _TRIALS.release()
    return answer(
        TrialView(
            scorer=found.card.model_dump(mode="json", exclude={"example"}),
            passed=found.passed,
            result=found.result.to_json() if found.result else None,
            contracts=[asdict(outcome) for outcome in found.outcomes],
        )
    )


@router.get("/watch", response_model=Answer[WatchList], summary="What is watched")
def list_watches(service: GivenService, principal: Manager) -> Response:
    """By this process, and what happened there last."""
    return answer(WatchList(watches=[_watch_view(watch) for watch in service.watches]))


@router.post("/watch", response_model=Answer[WatchView], summary="Watch a file or folder of scorers")
def begin_watch(service: GivenService, principal: Manager, asked: WatchRequest) -> Response:
    """Load what is there now, and again whenever it changes, until it is let go or the service ends."""
    source = source_of(service, asked.file_path)
    name = source.relative_to(scorers_dir(service)).as_posix() if source != scorers_dir(service) else "."
    by = who(principal)

    def on_loaded(loaded: Loaded) -> None:
        try:
            record(service, loaded, by=by)
        except AutoscorerError as exc:  # it is loaded all the same
            log_event("WARNING", "scorer_not_recorded", code=exc.code)

    watch = service.watches.begin(service.catalog.library, source, name=name, on_loaded=on_loaded)
    return answer(_watch_view(watch))


@router.delete("/watch", response_model=Answer[WatchView], summary="Watch it no longer")
def end_watch(service: GivenService, principal: Manager, asked: Annotated[Unwatched, Query()]) -> Response:
    """What was loaded goes on serving."""
    ended = service.watches.end(source_of(service, asked.file_path))
    if ended is None:
        raise not_found(f"watch of {asked.file_path[:200]!r}")
    return answer(_watch_view(ended))


def _load(service: Service, principal: Principal, source: Path, *, replace: bool) -> Response:
    if replace:
        _may_replace(service, principal)
    loaded = service.catalog.library.load(source, replace=replace)
    record(service, loaded, by=who(principal))
    return answer(loaded_data(loaded), warnings=load_warnings(loaded))


def _may_replace(service: Service, principal: Principal) -> None:
    """Names are shared by all organisations: nobody takes one that another's jobs may be scored by.

    Raises FORBIDDEN for anybody but an operator where there are several.
    """
    reach = principal.reach(Permission.MANAGE_SCORERS)
    if reach is not Reach.EVERYTHING and len(service.store.access.organisations()) > 1:
        message = "Several organisations share this service's scorers: only an operator may replace a name."
        details = {"role": principal.role, "permission": Permission.MANAGE_SCORERS.name.lower()}
        raise AutoscorerError("FORBIDDEN", message, details)


def _failures(service: Service) -> list[dict[str, Any]]:
    """By the name of the file or package: where it lies on this machine is nobody's business."""
    failures = service.catalog.library.failures()
    told = [{"source": path.rpartition("/")[2], **failure.model_dump()} for path, failure in failures.items()]
    broken = service.catalog.installed.failures
    return told + [{"source": name, **error.to_dict()} for name, error in broken.items()]


def _watch_view(watch: Watch) -> WatchView:
    return WatchView(file_path=watch.name, since=watch.since, events=list(watch.events))
