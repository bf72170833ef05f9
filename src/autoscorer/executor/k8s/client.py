"""The connection to a cluster: kubeconfig, token or a pod's own account; every call bounded in time."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from autoscorer.utils.closing import Closing
from autoscorer.utils.config import Settings, mask_secrets
from autoscorer.utils.errors import AutoscorerError

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 30.0
BUDGET_S = 60.0  # of one call with its tries
FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 8.0
TOO_MANY, GONE, CONFLICT, NOT_FOUND = 429, 410, 409, 404
_TRY_AGAIN = (TOO_MANY, 500, 502, 503, 504)
HOW_TO_REACH = (
    "check K8S_KUBECONFIG, or K8S_API with K8S_TOKEN and K8S_CA_CERT; `autoscorer doctor --backend k8s`"
)

Query = Mapping[str, Any] | Sequence[tuple[str, str]]


class RefusedError(Exception):
    """The API server answered with an error. ``retry_after_s`` is what it asks for, if it does."""

    def __init__(self, status: int, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s


class UnreachableError(Exception):
    """No answer came: nothing listens, it took too long, or it broke off."""


class Cluster(Closing):
    """One cluster and the namespace of jobs. Safe to use from several threads."""

    def __init__(self, api: Any, namespace: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """``api`` is the SDK's ApiClient: it knows where, who we are and whom to trust."""
        self._api = api
        self._pool = api.rest_client.pool_manager
        self._sleep = sleep
        self._signing = threading.Lock()  # a token that runs out is fetched anew by whoever comes first
        self.namespace = namespace

    def close(self) -> None:
        """Drop all connections, whoever still holds an error with one. Safe to call twice."""
        for key in self._pool.pools.keys():  # noqa: SIM118 - a container that cannot be iterated
            self._pool.pools[key].close()
        self._pool.clear()

    def path(self, kind: str, name: str = "", *, group: str = "") -> str:
        """The path of a kind's objects in the namespace, or of one of them."""
        root = f"/apis/{group}" if group else "/api/v1"
        return f"{root}/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Mapping[str, Any] | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
        budget_s: float = BUDGET_S,
    ) -> dict[str, Any]:
        """The answer. A server that is busy or away is asked again within ``budget_s``, as it wishes.

        Raises RefusedError, UnreachableError.
        """
        deadline, wait_s = time.monotonic() + budget_s, FIRST_WAIT_S
        while True:
            try:
                return self._once(method, path, query=query, body=body, timeout_s=timeout_s)
            except RefusedError as exc:
                if exc.status not in _TRY_AGAIN:
                    raise
                pause_s = exc.retry_after_s if exc.retry_after_s is not None else wait_s
                if time.monotonic() + pause_s > deadline:
                    raise
            except UnreachableError:
                pause_s = wait_s
                if time.monotonic() + pause_s > deadline:
                    raise
            self._sleep(pause_s + random.uniform(0, FIRST_WAIT_S))  # noqa: S311 - not for secrets
            wait_s = min(LONGEST_WAIT_S, 2 * wait_s)

    def _once(
        self, method: str, path: str, *, query: Query, body: Mapping[str, Any] | None, timeout_s: float
    ) -> dict[str, Any]:
        response = self._send(method, path, query=query, body=body, timeout_s=timeout_s)
        try:
            with transport_errors():
                content = response.read(decode_content=True)
        finally:
            response.release_conn()
        found = _parsed(content)
        if response.status >= 400:
            raise _refused(response, found)
        return found

    @contextmanager
    def stream(self, path: str, *, query: Query, silence_s: float) -> Iterator[Any]:
        """An answer that goes on; closed in the end. ``silence_s`` bounds each wait for more of it.

        Raises RefusedError, UnreachableError, also from reading it under `transport_errors`.
        """
        response = self._send("GET", path, query=query, body=None, timeout_s=silence_s)
        try:
            if response.status >= 400:
                with transport_errors():
                    content = response.read(decode_content=True)
                raise _refused(response, _parsed(content))
            yield response
        finally:
            response.close()

    def websocket(self, path: str, *, query: Sequence[tuple[str, str]], timeout_s: float) -> Any:
        """A connection that takes and gives a command's streams. Raises RefusedError, UnreachableError."""
        from kubernetes.stream.ws_client import V4_CHANNEL_PROTOCOL, create_websocket, get_websocket_url
        from websocket import WebSocketBadStatusException, WebSocketException

        headers = self._headers() | {"sec-websocket-protocol": V4_CHANNEL_PROTOCOL}
        url = get_websocket_url(self._api.configuration.host + path, list(query))
        try:
            channel = create_websocket(self._api.configuration, url, headers)
        except WebSocketBadStatusException as exc:
            body = _parsed(exc.resp_body or b"")
            raise RefusedError(exc.status_code, str(body.get("reason", "")), _text(body)) from exc
        except (OSError, WebSocketException) as exc:
            raise UnreachableError(_why(exc)) from exc
        channel.settimeout(timeout_s)
        return channel

    def _send(
        self, method: str, path: str, *, query: Query, body: Mapping[str, Any] | None, timeout_s: float
    ) -> Any:
        from urllib3 import Timeout

        headers = self._headers() | {"accept": "application/json"}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["content-type"] = (
                "application/merge-patch+json" if method == "PATCH" else "application/json"
            )
        url = self._api.configuration.host + path
        if query:
            url += "?" + urlencode(query)
        with transport_errors():
            return self._pool.request(
                method,
                url,
                body=content,
                headers=headers,
                timeout=Timeout(connect=CONNECT_TIMEOUT_S, read=timeout_s),
                preload_content=False,
                retries=False,
                redirect=False,
            )

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {"user-agent": "autoscorer"}
        with self._signing:
            self._api.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        return headers


def connect(settings: Settings) -> Cluster:
    """The cluster the settings name, asked nothing yet. Raises RESOURCE_UNAVAILABLE: a setting of no use."""
    try:
        from kubernetes import client, config
        from kubernetes.config.config_exception import ConfigException
    except ImportError as exc:
        message = "the kubernetes package is not installed: `pip install autoscorer[k8s]`"
        raise _unavailable(message) from exc
    configuration = client.Configuration()
    try:
        if settings.k8s_kubeconfig:
            config.load_kube_config(str(settings.k8s_kubeconfig), client_configuration=configuration)
        elif settings.k8s_api:
            configuration.host = settings.k8s_api.rstrip("/")
            configuration.api_key["authorization"] = f"Bearer {settings.k8s_token}"
            if settings.k8s_ca_cert:
                configuration.ssl_ca_cert = str(settings.k8s_ca_cert)
        else:
            config.load_incluster_config(client_configuration=configuration)
    except (ConfigException, OSError, ValueError, KeyError, TypeError) as exc:
        raise _unavailable("there is no usable kubeconfig, token or service account") from exc
    configuration.connection_pool_maxsize = 64
    return Cluster(client.ApiClient(configuration), settings.k8s_namespace)


def answers(settings: Settings) -> bool:
    """Whether the cluster's API server answers now."""
    try:
        with connect(settings) as cluster:
            cluster.call("GET", "/version", timeout_s=CONNECT_TIMEOUT_S, budget_s=0.0)
    except RefusedError as exc:
        return exc.status in (401, 403)  # it is there; that it does not know us is told when a job begins
    except (UnreachableError, AutoscorerError):
        return False
    return True


@contextmanager
def cluster_errors(doing: str, *, refused: str = "EXEC_ERROR") -> Iterator[None]:
    """Translate what a call raises. ``doing`` is for the message: "creating the Job"."""
    try:
        yield
    except RefusedError as exc:
        details = {"status": exc.status, "reason": exc.reason, "cluster": said(exc.message)}
        if exc.status in (401, 403):
            why = f"it refuses us while {doing}: {said(exc.message)}"
            raise _unavailable(why, details) from exc
        if exc.status in _TRY_AGAIN:
            raise _unavailable(f"its API server was busy or away while {doing}", details) from exc
        raise AutoscorerError(refused, f"The cluster refused while {doing}.", details) from exc
    except UnreachableError as exc:
        raise _unavailable(f"its API server does not answer while {doing} ({exc})") from exc


@contextmanager
def transport_errors() -> Iterator[None]:
    """Translate what urllib3 and sockets raise into UnreachableError."""
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (OSError, HTTPError, ValueError) as exc:
        raise UnreachableError(_why(exc)) from exc


def said(text: str) -> str:
    """What the cluster said, fit for a result: one line, bounded, without secrets."""
    return str(mask_secrets(" ".join(text[:2000].split())))[:500]


def _unavailable(reason: str, details: Mapping[str, Any] | None = None) -> AutoscorerError:
    return AutoscorerError(
        "RESOURCE_UNAVAILABLE",
        f"The Kubernetes cluster cannot be used: {reason}.",
        {"reason": reason, "expected": HOW_TO_REACH, **(details or {})},
    )


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content or b"{}")
    except ValueError:
        found = {"message": content[:500].decode("utf-8", "replace")}
    return found if isinstance(found, dict) else {}


def _refused(response: Any, body: Mapping[str, Any]) -> RefusedError:
    after = str(response.headers.get("Retry-After", ""))
    seconds = float(after) if after.isdigit() else None
    return RefusedError(response.status, str(body.get("reason", "")), _text(body), seconds)


def _text(body: Mapping[str, Any]) -> str:
    return str(body.get("message", ""))


def _why(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return type(reason).__name__
