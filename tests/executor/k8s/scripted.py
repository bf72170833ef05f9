"""An API server that does what a test tells it, for what no real cluster can be made to do."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from autoscorer.executor.k8s.client import Cluster

Answer = tuple[int, dict[str, Any], dict[str, str]]


@dataclass
class Script:
    """What is answered. ``lists`` and ``watches`` are used up one by one, the last of each stays.

    A watch is a list of events, and what comes after them: ``end`` closes it, ``hang`` says nothing more.
    """

    lists: deque[Answer] = field(default_factory=deque)
    watches: deque[tuple[list[dict[str, Any]], str]] = field(default_factory=deque)
    others: dict[tuple[str, str], deque[Answer]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    deletions: list[dict[str, Any]] = field(default_factory=list)  # the options of each
    patches: list[dict[str, Any]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def answer(self, method: str, path: str) -> Answer:
        rows = self.others.get((method, path))
        return _next(rows) if rows else (404, {"reason": "NotFound", "message": "not scripted"}, {})


def _next(rows: deque[Any]) -> Any:
    return rows.popleft() if len(rows) > 1 else rows[0]


def pods(*found: dict[str, Any], version: str = "1") -> Answer:
    return 200, {"items": list(found), "metadata": {"resourceVersion": version}}, {}


def a_pod(uid: str = "u1", *, version: int = 1, **status: Any) -> dict[str, Any]:
    metadata = {
        "uid": uid,
        "name": f"pod-{uid}",
        "resourceVersion": str(version),
        "creationTimestamp": f"2026-01-01T00:00:0{uid[-1]}Z",
    }
    return {"metadata": metadata, "status": status}


@contextmanager
def served(script: Script) -> Iterator[Cluster]:
    """A client of a server on loopback that follows ``script``."""
    from kubernetes import client

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def _any(self) -> None:
            url = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            for method, bodies in (("DELETE", script.deletions), ("PATCH", script.patches)):
                if self.command == method:
                    bodies.append(json.loads(content or b"{}"))
            query = parse_qs(url.query)
            script.asked.append((self.command, url.path + ("?watch" if "watch" in query else "")))
            if self.command == "GET" and url.path.endswith("/pods"):
                if "watch" in query:
                    self._watch()
                    return
                self._send(*_next(script.lists))
                return
            self._send(*script.answer(self.command, url.path))

        do_GET = do_POST = do_DELETE = do_PATCH = _any  # noqa: N815

        def _send(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def _watch(self) -> None:
            events, then = _next(script.watches)
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in events:
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.flush()
            if then == "hang":
                script.over.wait(30)
                self.close_connection = True
                return
            self.wfile.write(b"0\r\n\r\n")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_port}"
    configuration.proxy = None
    try:
        with Cluster(client.ApiClient(configuration), "jobs", sleep=lambda _s: None) as cluster:
            yield cluster
    finally:
        script.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
