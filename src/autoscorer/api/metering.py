"""Requests, counted and timed by route: outside all that answers, so that nothing goes unseen."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autoscorer.telemetry.instruments import HTTP_DURATION, HTTP_REQUESTS

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED, OTHER = "unmatched", "other"


class Meter:
    """Plain ASGI. The time runs to the first byte of the answer: a stream lasts as long as it is read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        method = scope["method"] if scope["method"] in _METHODS else OTHER

        async def send_metered(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = _route(scope)
                HTTP_REQUESTS.add(method=method, route=route, status=str(message["status"]))
                HTTP_DURATION.observe(time.perf_counter() - started_s, method=method, route=route)
            await send(message)

        await self._app(scope, receive, send_metered)


def _route(scope: Scope) -> str:
    """The route's template, which the router has put there; never the path that somebody asked for."""
    path: str = getattr(scope.get("route"), "path", UNMATCHED)
    return path
