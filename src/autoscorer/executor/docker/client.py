"""The connection to a Docker engine: made from settings alone, every call bounded in time, errors translated.

Neither the environment's ``DOCKER_*`` and proxy variables nor the credentials in ``~/.docker/config.json``
are used: who runs AutoScorer may be somebody else than who configured it.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from autoscorer.executor.docker.types import EngineFacts
from autoscorer.settings.checks import CLIENT_CERTIFICATE
from autoscorer.utils.closing import Closing
from autoscorer.utils.config import Settings, mask_secrets
from autoscorer.utils.errors import AutoscorerError

CALL_TIMEOUT_S = 30.0  # for one answer, not for a stream as a whole
QUICK_TIMEOUT_S = 1.5
HOW_TO_START = (
    "start Docker (`sudo systemctl start docker`) and set DOCKER_HOST if it listens elsewhere, "
    "or add `--backend local` to run on this machine without it"
)
_PLACEHOLDER_API = "1.41"  # until the engine has told its own; given, the SDK asks nothing while it is made
_HOST_PATH = re.compile(r"(?<![\w./:-])/(?:[\w.@+-]{1,255}/){1,64}[\w.@+-]{0,255}")


class Engine(Closing):
    """One engine. ``api`` is docker-py's low-level client; use it under `engine_errors`."""

    def __init__(self, api: Any, *, local: bool, version: Mapping[str, Any] | None = None) -> None:
        self.api = api
        self._local = local
        self._version = version  # what it answered when it was connected to: 10 ms, for it starts runc

    def close(self) -> None:
        """Drop all connections. Safe to call twice."""
        self.api.close()

    def facts(self) -> EngineFacts:
        """What the engine says of itself; asked once. Raises RESOURCE_UNAVAILABLE when it does not answer."""
        return self._facts

    @cached_property
    def _facts(self) -> EngineFacts:
        with engine_errors("asking the engine about itself"):
            version = self._version or self.api.version()
            return _to_facts(version, self.api.info(), local=self._local)


def connect(settings: Settings, *, timeout_s: float = CALL_TIMEOUT_S) -> Engine:
    """The engine at ``DOCKER_HOST``, which has answered once; ``timeout_s`` bounds each later answer.

    Raises RESOURCE_UNAVAILABLE when none answers: it says how to start one, or to add `--backend local`.
    """
    url = urlsplit(settings.docker_host)
    if url.scheme in ("unix", "tcp"):
        try:  # first by ourselves: quick without an engine, and the SDK leaks the socket it cannot connect
            _dial(settings).close()
        except OSError as exc:
            raise _unavailable(_why(exc)) from exc
    try:
        import docker
        from docker.errors import DockerException
    except ImportError as exc:
        raise _unavailable("the docker package is not installed: `pip install autoscorer[docker]`") from exc

    try:
        api = docker.APIClient(
            base_url=settings.docker_host,
            version=settings.docker_api_version or _PLACEHOLDER_API,
            timeout=timeout_s,
            tls=_tls(settings),
        )
    except DockerException as exc:
        reason = "DOCKER_HOST, DOCKER_API_VERSION or a certificate cannot be used, or ~/.docker/config.json"
        raise _unavailable(reason) from exc
    from autoscorer.executor.docker.transport import close_what_cannot_connect

    close_what_cannot_connect(api)
    _forget_the_environment(api)
    try:
        with engine_errors("connecting", refused="RESOURCE_UNAVAILABLE"):
            answer = api.version(api_version=settings.docker_api_version is not None)
    except BaseException:  # clean-up: an interrupt must not leave the socket open either
        api.close()
        raise
    if not isinstance(answer, dict) or "ApiVersion" not in answer:
        api.close()
        raise _unavailable("what answers at DOCKER_HOST is no Docker engine")
    if settings.docker_api_version is None:
        api._version = str(answer["ApiVersion"])
    return Engine(api, local=url.scheme == "unix")


def answers(settings: Settings) -> bool:
    """Whether an engine answers at ``DOCKER_HOST``, in under two seconds and without loading the SDK."""
    deadline = time.monotonic() + QUICK_TIMEOUT_S
    try:
        with _dial(settings) as channel:
            channel.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
            line = b""
            while b"\r\n" not in line and len(line) < 1024:
                channel.settimeout(max(0.001, deadline - time.monotonic()))
                received = channel.recv(1024)
                if not received:
                    break
                line += received
    except (OSError, ValueError):
        return False
    return re.match(rb"HTTP/1\.[01] 200 ", line) is not None


def _dial(settings: Settings) -> socket.socket:
    """A connected socket. Raises OSError, or ValueError for a scheme that cannot be asked quickly."""
    url = urlsplit(settings.docker_host)
    if url.scheme == "unix":
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        channel.settimeout(QUICK_TIMEOUT_S)
        try:
            channel.connect(url.path)
        except OSError:
            channel.close()
            raise
        return channel
    if url.scheme != "tcp" or not url.hostname:
        raise ValueError("only unix and tcp")
    plain = socket.create_connection((url.hostname, url.port or 2375), timeout=QUICK_TIMEOUT_S / 2)
    if not settings.docker_tls_verify:
        return plain
    try:
        return _tls_context(settings.docker_cert_path).wrap_socket(plain, server_hostname=url.hostname)
    except OSError:
        plain.close()
        raise


def _tls(settings: Settings) -> Any:
    """As docker-py wants it: False, True (the system's authorities), or whose certificates."""
    from docker.tls import TLSConfig

    folder = settings.docker_cert_path
    if not settings.docker_tls_verify or folder is None:
        return settings.docker_tls_verify
    ours = (str(folder / CLIENT_CERTIFICATE[0]), str(folder / CLIENT_CERTIFICATE[1]))
    return TLSConfig(client_cert=ours, ca_cert=_authority(folder), verify=True)


def _tls_context(folder: Path | None) -> ssl.SSLContext:
    """The same for a connection of our own. Raises OSError."""
    context = ssl.create_default_context(cafile=_authority(folder) if folder else None)
    if folder is not None:
        context.load_cert_chain(folder / CLIENT_CERTIFICATE[0], folder / CLIENT_CERTIFICATE[1])
    return context


def _authority(folder: Path) -> str | None:
    return str(folder / "ca.pem") if (folder / "ca.pem").exists() else None


@contextmanager
def engine_errors(
    doing: str, *, refused: str = "EXEC_ERROR", lost: str = "RESOURCE_UNAVAILABLE", cause: str = ""
) -> Iterator[None]:
    """Translate what docker-py, requests and urllib3 raise, by class and status.

    ``refused`` is raised when the engine answers with an error (``details.status``), ``lost`` when it
    does not answer or its answer breaks off. ``doing`` is for the message: "starting the container".
    """
    from docker.errors import DockerException
    from requests.exceptions import HTTPError
    from urllib3.exceptions import HTTPError as TransportError

    try:
        yield
    except HTTPError as exc:
        details = {"status": status_of(exc), "engine": engine_text(getattr(exc, "explanation", None) or "")}
        if refused == "RESOURCE_UNAVAILABLE":
            raise _unavailable("it refuses this client; check DOCKER_HOST and DOCKER_API_VERSION") from exc
        raise AutoscorerError(
            refused, f"The Docker engine refused while {doing}.", details, cause=cause
        ) from exc
    except (OSError, TransportError) as exc:  # all of requests' errors are OSErrors
        if lost == "RESOURCE_UNAVAILABLE":
            raise _unavailable(_why(exc)) from exc
        raise AutoscorerError(
            lost, f"The Docker engine did not answer while {doing}.", {"reason": _why(exc)}, cause=cause
        ) from exc
    except DockerException as exc:
        raise AutoscorerError(
            refused, f"The request was not possible while {doing}.", {"engine": engine_text(str(exc))}
        ) from exc


def status_of(error: BaseException) -> int | None:
    """The HTTP status of the engine's answer, None if there was no answer."""
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def engine_text(text: str) -> str:
    """What the engine said, fit for a result: one line, bounded, without secrets and host paths."""
    line = " ".join(text[:2000].split())
    return str(mask_secrets(_HOST_PATH.sub("<path>", line)))[:500]


def _unavailable(reason: str) -> AutoscorerError:
    return AutoscorerError(
        "RESOURCE_UNAVAILABLE",
        f"No Docker engine can be used: {reason}. To go on, {HOW_TO_START}.",
        {"reason": reason, "setting": "DOCKER_HOST", "expected": HOW_TO_START},
        cause="engine",
    )


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (PermissionError, "this user may not use its socket (is the user in the group `docker`?)"),
    (FileNotFoundError, "there is no socket at DOCKER_HOST"),
    (ConnectionRefusedError, "nothing listens at DOCKER_HOST"),
    (ssl.SSLError, "its certificate cannot be verified"),
    (TimeoutError, "it takes too long to answer"),
    (ConnectionError, "the connection broke off"),
)


def _why(error: BaseException) -> str:
    """The reason in our words, from the classes of the errors inside ``error``."""
    found = list(_inner(error))
    for kind, reason in _REASONS:
        if any(isinstance(inner, kind) for inner in found):
            return reason
    return "it does not answer"


def _inner(error: BaseException) -> Iterator[BaseException]:
    """An error, and the errors it was made from: requests and urllib3 keep them in args and context."""
    pending, seen = [error], set[int]()
    while pending and len(seen) < 32:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        linked = (*current.args, current.__cause__, current.__context__, getattr(current, "reason", None))
        pending += [inner for inner in linked if isinstance(inner, BaseException)]


def _forget_the_environment(api: Any) -> None:
    from docker.auth import AuthConfig
    from docker.utils.proxy import ProxyConfig

    api.trust_env = False  # no proxy, no .netrc
    api._general_configs, api._auth_configs, api._proxy_configs = {}, AuthConfig({}), ProxyConfig()


def _to_facts(version: Mapping[str, Any], info: Mapping[str, Any], *, local: bool) -> EngineFacts:
    runtimes = info.get("Runtimes") or {}
    return EngineFacts(
        version=str(version.get("Version", "")),
        api_version=str(version.get("ApiVersion", "")),
        architecture=str(version.get("Arch", "")),
        cgroup_version=str(info.get("CgroupVersion", "")),
        storage_driver=str(info.get("Driver", "")),
        data_root=Path(str(info.get("DockerRootDir", "/var/lib/docker"))),
        security_options=tuple(info.get("SecurityOptions") or ()),
        runtimes={name: str((row or {}).get("path", "")) for name, row in runtimes.items()},
        gpus=_count_gpus(info, local=local),
        local=local,
    )


def _count_gpus(info: Mapping[str, Any], *, local: bool) -> int:
    """What the engine found by CDI (since 28.2); on this machine also what the driver lists."""
    devices = [str(row.get("ID", "")) for row in info.get("DiscoveredDevices") or ()]
    found = sum(bool(re.fullmatch(r"nvidia\.com/gpu=[0-9]+", name)) for name in devices)
    if local:
        with suppress(OSError):
            found = max(found, sum(1 for _ in Path("/proc/driver/nvidia/gpus").iterdir()))
    return found
