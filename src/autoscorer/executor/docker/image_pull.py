"""Pulling one image: credentials, progress, a budget of its own, and whose fault a failure is."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from autoscorer.executor.base import OnEvent, StopSignal
from autoscorer.executor.docker.client import Engine, engine_errors, engine_text
from autoscorer.executor.failures import stopped_early
from autoscorer.executor.image_names import HUB, ImageName
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.retry import BackOff, retry_transient

PULL_BACK_OFF = BackOff(budget_s=600.0)  # apart from the job's time limit
SILENCE_S = 120.0  # the engine reports many times a second while bytes flow
PROGRESS_EVERY_S = 1.0
MAX_DOWNLOAD_BYTES = 32 * 2**30
_FAILED = "IMAGE_PULL_FAILED"
_DENIED = (400, 401, 403, 404)
# A registry that asks for a password and gets none is, to the engine, like one that is down (status
# 500 for both). Asked with a wrong one, its answer tells the two apart.
_NOBODY = {"username": "anonymous", "password": "anonymous"}


def pull(
    engine: Engine,
    name: ImageName,
    settings: Settings,
    *,
    on_event: OnEvent,
    stop: StopSignal = lambda: None,
    back_off: BackOff = PULL_BACK_OFF,
) -> float:
    """Pull ``name``; the seconds it took. Tries again, with back-off, when the registry is unwell.

    Raises IMAGE_PULL_FAILED, cause ``denied`` (no such image, or no access: the participant's) or
    ``network`` (the platform's); RESOURCE_UNAVAILABLE without an engine; CANCELLED by ``stop``.
    """
    started = time.monotonic()
    deadline = started + back_off.budget_s
    auth = credentials(settings.registry_auth, name.registry)
    on_event("image_pull_started", {"image": str(name)})

    def on_retry(error: AutoscorerError, tries: int, wait_s: float) -> None:
        heed(stop)
        facts = {"image": str(name), "tries": tries, "wait_s": round(wait_s, 1), "reason": error.message}
        on_event("image_pull_retried", facts)

    retry_transient(
        lambda: _pull_once(engine, name, auth, deadline=deadline, on_event=on_event, stop=stop),
        back_off=back_off,
        on_retry=on_retry,
    )
    seconds = round(time.monotonic() - started, 3)
    on_event("image_pulled", {"image": str(name), "duration_seconds": seconds})
    return seconds


def credentials(registry_auth: Mapping[str, Any] | None, registry: str) -> dict[str, str]:
    """What REGISTRY_AUTH holds for ``registry``; empty without an entry, nothing is looked for elsewhere."""
    for key, entry in (registry_auth or {}).items():
        if _registry_of(key) == registry:
            server = "https://index.docker.io/v1/" if registry == HUB else registry
            return {**entry, "serveraddress": server}
    return {}


def _registry_of(key: str) -> str:
    """The host of a key: ``https://index.docker.io/v1/``, as `docker login` writes it, is Docker Hub."""
    host = urlsplit(key if "://" in key else f"//{key}").netloc
    return HUB if host in ("index.docker.io", "registry-1.docker.io") else host


def _pull_once(
    engine: Engine,
    name: ImageName,
    auth: Mapping[str, str],
    *,
    deadline: float,
    on_event: OnEvent,
    stop: StopSignal,
) -> None:
    try:
        with (
            engine_errors("pulling the image", refused=_FAILED, lost=_FAILED, cause="network"),
            _create_image(engine, name, auth, deadline) as response,
        ):
            _follow(messages(response), name, deadline=deadline, on_event=on_event, stop=stop)
    except AutoscorerError as exc:
        if exc.code != _FAILED or "reason" in exc.details:  # the engine itself did not answer
            raise
        status = exc.details.get("status")
        if status in _DENIED or _registry_status(engine, name, auth) in _DENIED:
            message = f"The registry has no image {name}, or denies access to it."
            raise AutoscorerError(_FAILED, message, exc.details, cause="denied") from exc
        raise _network(f"The registry of {name} does not answer as it should.", exc.details) from exc


@contextmanager
def _create_image(engine: Engine, name: ImageName, auth: Mapping[str, str], deadline: float) -> Iterator[Any]:
    """The engine's answer to a pull, as a stream; a pull whose answer is closed is given up by the engine.

    Not by docker-py's `pull`: it waits for ever.
    """
    api = engine.api
    response = api.post(
        api._url("/images/create"),
        params={"fromImage": name.repo, "tag": name.version},
        headers=_auth_header(auth),
        stream=True,
        timeout=(api.timeout, min(SILENCE_S, max(0.1, deadline - time.monotonic()))),
    )
    try:
        api._raise_for_status(response)
        yield response
    finally:
        response.close()


def messages(response: Any) -> Iterator[dict[str, Any]]:
    """The JSON objects of an engine's progress, as they come. Raises ConnectionError when it breaks off."""
    for line in response.iter_lines(chunk_size=2**16):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as exc:
                raise ConnectionError("the engine's answer broke off") from exc


def _follow(
    progress: Iterator[dict[str, Any]],
    name: ImageName,
    *,
    deadline: float,
    on_event: OnEvent,
    stop: StopSignal,
) -> None:
    """Read a pull to its end. Raises IMAGE_PULL_FAILED, IMAGE_INVALID for an image too large, CANCELLED."""
    done: dict[str, int] = {}
    totals: dict[str, int] = {}
    told_at = time.monotonic()
    for message in progress:
        heed(stop)
        if failure := message.get("errorDetail") or message.get("error"):
            text = failure.get("message", "") if isinstance(failure, dict) else failure
            raise _network(f"Pulling {name} failed.", {"engine": engine_text(str(text))})
        now = time.monotonic()
        if now > deadline:
            raise _network(f"Pulling {name} took longer than it may.", {"reason": "budget"})
        _count(message, done, totals)
        if now - told_at >= PROGRESS_EVERY_S:
            told_at = now
            sizes = {"done_bytes": sum(done.values()), "total_bytes": sum(totals.values())}
            on_event("image_pull_progress", {"image": str(name), **sizes})


def _count(message: Mapping[str, Any], done: dict[str, int], totals: dict[str, int]) -> None:
    detail, layer = message.get("progressDetail") or {}, str(message.get("id", ""))
    totals[layer] = max(totals.get(layer, 0), int(detail.get("total") or 0))
    done[layer] = max(done.get(layer, 0), int(detail.get("current") or 0))
    if sum(totals.values()) > MAX_DOWNLOAD_BYTES:
        raise AutoscorerError(
            "IMAGE_INVALID",
            "The image is too large.",
            {"expected": f"at most {MAX_DOWNLOAD_BYTES} bytes to pull"},
        )


def _registry_status(engine: Engine, name: ImageName, auth: Mapping[str, str]) -> int | None:
    """What status the registry answers with when it is asked about the image; None when nobody answers."""
    api = engine.api
    try:
        with engine_errors("asking the registry", lost=_FAILED, cause="network"):
            api._result(
                api.get(
                    api._url("/distribution/{0}/json", name.full),
                    headers=_auth_header(auth or _NOBODY),
                    timeout=api.timeout,
                )
            )
    except AutoscorerError as exc:
        status = exc.details.get("status")
        return status if isinstance(status, int) else None
    return 200


def _auth_header(auth: Mapping[str, str]) -> dict[str, str]:
    """Always given: without one docker-py looks into ~/.docker/config.json."""
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(dict(auth)).encode()).decode()}


def _network(message: str, details: Mapping[str, Any]) -> AutoscorerError:
    return AutoscorerError(_FAILED, message, details, cause="network")


def heed(stop: StopSignal) -> None:
    """Raise CANCELLED when the job is to stop, WORKER_STOPPED when its worker is."""
    if (reason := stop()) is not None:
        raise stopped_early(reason, "before its container was made")
