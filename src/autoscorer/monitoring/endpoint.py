"""A worker's own `/metrics`, on loopback unless told otherwise: Celery workers have no API to tell theirs."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from autoscorer.monitoring.scrape import CONTENT_TYPE, Scrape
from autoscorer.monitoring.token import bearer, is_metrics_token
from autoscorer.utils.errors import AutoscorerError

_SILENCE_S = 10.0


@contextmanager
def serving_metrics(scrape: Scrape, port: int, token: str, *, host: str = "127.0.0.1") -> Iterator[int]:
    """Answer `GET /metrics` at ``host`` within the block; the port it is. 0 is any free one.

    Raises CONFIG_VALIDATION_ERROR when the port is taken or the address is not this machine's.
    """
    try:
        server = ThreadingHTTPServer((host, port), _handler(scrape, token))
    except OSError as exc:
        message = f"WORKER_METRICS_PORT: cannot listen on {host}, port {port} ({exc.strerror})"
        if isinstance(exc, socket.gaierror) or exc.errno == errno.EADDRNOTAVAIL:
            message = f"WORKER_METRICS_HOST: {host} is no address of this machine"
        raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="configuration") from exc
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(scrape: Scrape, token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SILENCE_S
        server_version, sys_version = "autoscorer", ""

        def do_GET(self) -> None:
            if not is_metrics_token(bearer(self.headers.get("Authorization", "")), token):
                self._answer(HTTPStatus.UNAUTHORIZED, b"")
            elif self.path.partition("?")[0] != "/metrics":
                self._answer(HTTPStatus.NOT_FOUND, b"")
            else:
                self._answer(HTTPStatus.OK, scrape.text())

        def _answer(self, status: HTTPStatus, content: bytes) -> None:
            self.send_response(status)
            if status is HTTPStatus.UNAUTHORIZED:
                self.send_header("WWW-Authenticate", "Bearer")
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_said: object) -> None:
            """Nothing: a scrape every few seconds is no news."""

    return Handler
