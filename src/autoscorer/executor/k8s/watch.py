"""The pods of one attempt as the cluster tells of them: by a watch, and by lists for what that missed."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from autoscorer.executor.k8s.client import GONE, Cluster, RefusedError, UnreachableError, transport_errors
from autoscorer.executor.k8s.naming import LABEL_ATTEMPT

WATCH_S = 60  # the server ends it then and we list again
SILENCE_S = 90.0
POLL_S = 5.0  # a watch that is open and silent proves nothing
PAUSE_S = 0.5

Pods = Mapping[str, Mapping[str, Any]]


class PodWatch:
    """Keeps looking in the background; `changed` waits for news. Close it always.

    ``pods`` maps a uid to the pod; one that is gone is not there. ``silent_since`` is when the cluster was
    heard of last, if it does not answer now.
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self._query = {"labelSelector": f"{LABEL_ATTEMPT}={name}"}
        self._path = cluster.path("pods")
        self._lock = threading.Lock()
        self._pods: dict[str, Mapping[str, Any]] = {}
        self._versions: dict[str, int] = {}
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._response: Any = None
        self._polled_at = time.monotonic()
        self.silent_since: float | None = None
        self._thread = threading.Thread(target=self._keep_looking, name=f"pods of {name}", daemon=True)
        self._thread.start()

    @property
    def pods(self) -> Pods:
        with self._lock:
            return dict(self._pods)

    def changed(self, timeout_s: float) -> bool:
        """Wait for news, at most ``timeout_s``; whether there are any."""
        try:
            self._news.get(timeout=timeout_s)
        except queue.Empty:
            return False
        while not self._news.empty():
            self._news.get()
        return True

    def poll(self, *, now: bool = False) -> None:
        """Ask, besides watching, if it is time to. What the cluster does not answer is noted."""
        if not now and time.monotonic() - self._polled_at < POLL_S:
            return
        self._polled_at = time.monotonic()
        try:
            self._list(budget_s=0.0)
        except (RefusedError, UnreachableError):
            self._note_silence()

    def close(self) -> None:
        """Safe to call twice."""
        self._closing.set()
        response = self._response
        if response is not None:
            hang_up(response)
        self._thread.join(timeout=SILENCE_S)

    def _keep_looking(self) -> None:
        while not self._closing.is_set():
            try:
                self._follow(self._list(budget_s=0.0))
            except (RefusedError, UnreachableError) as exc:
                if not (isinstance(exc, RefusedError) and exc.status == GONE):
                    self._note_silence()
                self._closing.wait(_pause(exc))

    def _list(self, *, budget_s: float) -> str:
        """All there are; the version to watch from."""
        found = self._cluster.call("GET", self._path, query=self._query, budget_s=budget_s)
        pods = {_uid(pod): pod for pod in found.get("items") or ()}
        with self._lock:
            # What a watch told meanwhile may be newer than this answer.
            kept = {uid: self._newer(uid, pod) for uid, pod in pods.items()}
            self._pods = kept
            self._versions = {uid: _version(pod) for uid, pod in kept.items()}
        self._heard()
        return str((found.get("metadata") or {}).get("resourceVersion", ""))

    def _newer(self, uid: str, pod: Mapping[str, Any]) -> Mapping[str, Any]:
        known = self._pods.get(uid)
        return known if known is not None and self._versions[uid] > _version(pod) else pod

    def _follow(self, version: str) -> None:
        query = {**self._query, "watch": "true", "resourceVersion": version, "timeoutSeconds": str(WATCH_S)}
        with self._cluster.stream(self._path, query=query, silence_s=SILENCE_S) as response:
            self._response = response
            try:
                if self._closing.is_set():  # while it was being opened: nobody will hang it up
                    return
                for line in _lines(response):
                    if self._closing.is_set():
                        return
                    self._take(json.loads(line))
            except ValueError as exc:
                raise UnreachableError("a watch that cannot be read") from exc
            finally:
                self._response = None

    def _take(self, event: Mapping[str, Any]) -> None:
        kind, pod = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            raise RefusedError(
                int(pod.get("code", 500)), str(pod.get("reason", "")), str(pod.get("message", ""))
            )
        uid = _uid(pod)
        with self._lock:
            if kind == "DELETED":
                self._pods.pop(uid, None)
            # An event may come late, after a list that knew more.
            elif kind in ("ADDED", "MODIFIED") and _version(pod) >= self._versions.get(uid, 0):
                self._pods[uid] = pod
                self._versions[uid] = _version(pod)
        self._heard()

    def _heard(self) -> None:
        self.silent_since = None
        self._news.put(None)

    def _note_silence(self) -> None:
        if self.silent_since is None:
            self.silent_since = time.monotonic()
        self._news.put(None)


def _lines(response: Any) -> Iterator[bytes]:
    rest = b""
    while True:
        with transport_errors():
            chunk = response.read1(2**18)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())


def hang_up(response: Any) -> None:
    """End a read that another thread is in."""
    connection = getattr(response, "_connection", None) or getattr(response, "connection", None)
    sock = getattr(connection, "sock", None)
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


def _pause(error: RefusedError | UnreachableError) -> float:
    after = error.retry_after_s if isinstance(error, RefusedError) else None
    return after if after is not None else PAUSE_S


def _uid(pod: Mapping[str, Any]) -> str:
    return str((pod.get("metadata") or {}).get("uid", ""))


def _version(pod: Mapping[str, Any]) -> int:
    """Opaque by the letter, a number in every API server there is; what is no number is never newer."""
    text = str((pod.get("metadata") or {}).get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0
