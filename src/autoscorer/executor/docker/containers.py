"""One container at the engine: create, attach, start, ask, signal, remove. No decisions."""

from __future__ import annotations

import http
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from autoscorer.executor.docker.client import Engine, engine_errors, engine_text, status_of
from autoscorer.executor.docker.logs import AttachedStream
from autoscorer.executor.docker.options import create_body
from autoscorer.executor.docker.types import ContainerPlan
from autoscorer.utils.errors import AutoscorerError

Signal = Literal["SIGTERM", "SIGKILL"]

ASK_TIMEOUT_S = 5.0
REMOVE_TIMEOUT_S = 10.0
REMOVE_TRIES = 7
RETRY_PAUSE_S = 0.25  # and more each time: five seconds in all
# What an engine says of a start that failed for what the image holds, where we mount or run.
_IMAGES_FAULT = (
    "to rootfs",
    "chdir to cwd",
    "unable to find",
    "mountpoint",
    "argument list too long",
    "environment variable",
)
REFUSED_START = "refused_start"  # in the details: the engine answered, perhaps by what the image holds
_WORKING_FOLDER_FAULT = ("not a directory", "too many links")  # at create: /workspace of the image
_NO_INIT = "docker-init"
BIND_SOURCE_MISSING = "bind source path does not exist"  # an engine's words at create


class BindSourceMissingError(Exception):
    """The engine does not see a folder that we see."""


class EngineSilentError(Exception):
    """No answer. ``hung``: it took the call and gave none in time; else there is nobody to take it."""

    def __init__(self, *, hung: bool) -> None:
        super().__init__("hung" if hung else "gone")
        self.hung = hung


class EngineRefusedError(EngineSilentError):
    """An answer, and no use: the engine is there and cannot do it now."""

    def __init__(self) -> None:
        super().__init__(hung=True)


@dataclass(frozen=True, kw_only=True)
class ContainerState:
    """What the engine says of a container: running, or how it ended. ``raw`` is its whole answer."""

    running: bool
    exit_code: int
    oom_killed: bool
    pid: int
    raw: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class StartRefused:
    """The program could not be started: as in a shell, 127 or 126 is the command's fault."""

    exit_code: int
    reason: str


class Container:
    """A container that exists at the engine."""

    def __init__(self, engine: Engine, container_id: str, warnings: tuple[str, ...], *, init: bool) -> None:
        self._engine = engine
        self._api = engine.api
        self.container_id = container_id
        self.warnings = warnings
        self.init = init

    @classmethod
    def create(cls, engine: Engine, plan: ContainerPlan, *, init: bool = True) -> Container:
        """Raises BindSourceMissingError, or AutoscorerError CONTAINER_CREATE_FAILED."""
        try:
            with engine_errors(
                "creating the container", refused="CONTAINER_CREATE_FAILED", lost="CONTAINER_WAIT_FAILED"
            ):
                made = engine.api.create_container_from_config(create_body(plan, init=init), plan.name)
        except AutoscorerError as exc:
            said = str(exc.details.get("engine", ""))
            if exc.code == "CONTAINER_CREATE_FAILED" and BIND_SOURCE_MISSING in said:
                raise BindSourceMissingError from exc
            if any(part in said for part in _WORKING_FOLDER_FAULT):
                raise _images_fault(exc) from exc
            raise
        return cls(engine, str(made["Id"]), tuple(made.get("Warnings") or ()), init=init)

    def attach(self) -> AttachedStream:
        """What it will print. Before the start, so that not a byte is missed."""
        params = {"stdout": 1, "stderr": 1, "stream": 1}
        with engine_errors("attaching to the container", lost="CONTAINER_WAIT_FAILED"):
            return AttachedStream(self._api.attach_socket(self.container_id, params=params))

    def start(self) -> StartRefused | None:
        """Start it. What the image or the command is to blame for is returned or raised as such.

        Raises AutoscorerError: IMAGE_INVALID when the image stands in the way of our mounts, else
        EXEC_ERROR with `REFUSED_START`; LookupError when the engine has no docker-init.
        """
        try:
            with engine_errors("starting the container", lost="CONTAINER_WAIT_FAILED"):
                self._api.start(self.container_id)
        except AutoscorerError as exc:
            said = str(exc.details.get("engine", ""))
            if "status" not in exc.details:
                raise
            if self.init and _NO_INIT in said:
                raise LookupError(_NO_INIT) from exc
            refused = self._refusal(said)
            if refused is not None:
                return refused
            if any(part in said for part in _IMAGES_FAULT):
                raise _images_fault(exc) from exc
            exc.details[REFUSED_START] = True
            raise
        return None

    def _refusal(self, said: str) -> StartRefused | None:
        if "OOM-killed" in said:  # so little memory that not even the first process came up
            return StartRefused(exit_code=128 + signal.SIGKILL, reason=said)
        if self.init:
            return None  # docker-init, the engine's own, finds an absent command; a refusal is the engine's
        try:
            exit_code = self.state().exit_code
        except (EngineSilentError, LookupError):
            return None
        return StartRefused(exit_code=exit_code, reason=said) if exit_code in (126, 127) else None

    def state(self) -> ContainerState:
        """Raises EngineSilentError, or LookupError when there is no such container any more."""
        with asking():
            url = self._api._url("/containers/{0}/json", self.container_id)
            raw: Mapping[str, Any] = self._api._result(self._api._get(url, timeout=ASK_TIMEOUT_S), json=True)
        state = raw["State"]
        return ContainerState(
            # A container that is paused or restarting is not over.
            running=state["Status"] not in ("exited", "dead", "created", "removing"),
            exit_code=int(state["ExitCode"]),
            oom_killed=bool(state["OOMKilled"]),
            pid=int(state["Pid"]),
            raw=raw,
        )

    def send(self, name: Signal) -> None:
        """Send it; a container that has ended is no error. Raises EngineSilentError."""
        with asking(fine=(http.HTTPStatus.CONFLICT, http.HTTPStatus.NOT_FOUND)):
            url = self._api._url("/containers/{0}/kill", self.container_id)
            response = self._api._post(url, params={"signal": name}, timeout=ASK_TIMEOUT_S)
            self._api._raise_for_status(response)

    def stats(self) -> Mapping[str, Any]:
        """One sample of its counters. Raises EngineSilentError, or LookupError."""
        with asking():
            url = self._api._url("/containers/{0}/stats", self.container_id)
            params = {"stream": "false", "one-shot": "true"}
            answer = self._api._get(url, params=params, timeout=ASK_TIMEOUT_S)
            found: Mapping[str, Any] = self._api._result(answer, json=True)
            return found

    def remove(self) -> bool:
        return remove_container(self._engine, self.container_id)


def _images_fault(error: AutoscorerError) -> AutoscorerError:
    message = "The container could not be set up on this image."
    return AutoscorerError("IMAGE_INVALID", message, error.details)


def remove_container(engine: Engine, name: str, *, tries: int = REMOVE_TRIES) -> bool:
    """Kill and remove it with its volumes; whether it is gone. One that is gone already is no error."""
    for attempt in range(tries):
        if attempt:
            time.sleep(RETRY_PAUSE_S * attempt)
        try:
            with asking(fine=(http.HTTPStatus.NOT_FOUND,)):
                url = engine.api._url("/containers/{0}", name)
                params = {"v": True, "force": True}
                response = engine.api._delete(url, params=params, timeout=REMOVE_TIMEOUT_S)
                engine.api._raise_for_status(response)
            return True
        except EngineRefusedError:
            continue  # a removal is under way already, or a mount is busy for a moment
        except EngineSilentError as exc:
            if exc.hung:
                return False
    return False


@contextmanager
def asking(fine: tuple[int, ...] = ()) -> Iterator[None]:
    """Translate the faults of one call of the engine: no answer to EngineSilentError, 404 to LookupError.

    A status in ``fine`` is no fault.
    """
    from docker.errors import DockerException
    from requests.exceptions import HTTPError, Timeout
    from urllib3.exceptions import HTTPError as TransportError
    from urllib3.exceptions import TimeoutError as TransportTimeout

    try:
        yield
    except HTTPError as exc:
        status = status_of(exc)
        if status in fine:
            return
        if status == http.HTTPStatus.NOT_FOUND:
            raise LookupError(engine_text(str(exc))) from exc
        raise EngineRefusedError from exc
    except (OSError, TransportError) as exc:
        timeouts = (Timeout, TransportTimeout, TimeoutError)
        hung = isinstance(exc, timeouts) or any(isinstance(inner, timeouts) for inner in exc.args)
        raise EngineSilentError(hung=hung) from exc
    except DockerException as exc:
        raise EngineSilentError(hung=False) from exc
