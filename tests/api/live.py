"""The API of a site behind a real server, for answers that come bit by bit."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from autoscorer.api.listening import HttpServer, listen, url_of
from autoscorer.client.server_events import ServerEvent, parse_events
from tests.api.sites import ApiSite
from tests.worker.sites import until

BOUND_S = 60.0


@dataclass
class Live:
    """A server under way; `close` of a response lets go of its stream."""

    api: ApiSite
    url: str
    http: httpx.Client

    def headers(self, **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api.token()}", **more}

    @contextmanager
    def stream(self, path: str, **headers: str) -> Iterator[httpx.Response]:
        with self.http.stream("GET", path, headers=self.headers(**headers)) as response:
            yield response

    def connect(self) -> socket.socket:
        """A bare connection, for a reader that does not read."""
        host, port = self.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=BOUND_S)

    def until_no_stream(self) -> None:
        until(lambda: len(self.api.service.streams) == 0, what="streams are let go of")


@contextmanager
def live(api: ApiSite) -> Iterator[Live]:
    """The site's app, served on a free port for the block."""
    with listen("127.0.0.1", 0) as listener:
        server = HttpServer(api.app, listener)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            until(lambda: server.started)
            url = url_of(listener)
            with httpx.Client(base_url=url, timeout=BOUND_S, trust_env=False) as http:
                yield Live(api, url, http)
        finally:
            api.service.stopping.set()
            server.refuse()
            server.drop()
            thread.join(BOUND_S)
            assert not thread.is_alive()


def events_in(response: Any) -> Iterator[ServerEvent | None]:
    """The events of a stream as they come; None for a sign of life."""
    return parse_events(response.iter_lines())
