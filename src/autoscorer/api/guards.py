"""What stands before every route, as plain ASGI: names and pages answered, sizes, rates, ids, headers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from uuid import uuid4

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autoscorer.api.answers import refusal
from autoscorer.api.current import CurrentRequest, begin, current
from autoscorer.api.faults import internal
from autoscorer.api.rates import Rates
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import bound

# Asked by machines that watch this one, at whatever address it has for them; they tell nothing of anybody.
PROBES = frozenset({"/healthz", "/readyz"})
REQUEST_ID = "X-Request-Id"
PRINCIPAL = "autoscorer.principal"  # in the scope of a request: whose token it has shown, None if nobody's
_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_REQUEST_ID = REQUEST_ID.lower().encode("ascii")
_SECURITY_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


class RequestFrame:
    """Gives a request its id, its answer the security headers, and lets no fault through."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = values_of(scope, _REQUEST_ID)
        request_id = given[0] if given and _GOOD_ID.fullmatch(given[0]) else str(uuid4())
        begin(CurrentRequest(request_id, self._max_body_bytes))
        started = False

        async def send_framed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = _framed(message.get("headers", ()), request_id)
            await send(message)

        with bound(request_id=request_id):
            try:
                await self._app(scope, receive, send_framed)
            except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
                raise
            except BaseException as exc:  # boundary of a request: one must not end the service
                error = internal(exc, scope)
                if not started:
                    await refusal(error)(scope, receive, send_framed)


class HostGuard:
    """Answers only to its own names: a page cannot reach this service by a name of its own making.

    A request that says it comes from a page is answered if that page is ours or an allowed one.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str], origins: Iterable[str]) -> None:
        self._app = app
        self._hosts = tuple(host.lower() for host in hosts)
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PROBES:
            fault = self._fault(values_of(scope, b"host"), values_of(scope, b"origin"))
            if fault is not None:
                error = AutoscorerError("BAD_REQUEST", fault, cause="host")
                await refusal(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _fault(self, hosts: list[str], origins: list[str]) -> str | None:
        if len(hosts) != 1 or not self._answers(host_name(hosts[0])):
            return "This service does not answer to that Host."
        if all(self._is_ours(origin.lower(), host=hosts[0].lower()) for origin in origins):
            return None
        return "Pages of that Origin may not call this service."

    def _is_ours(self, origin: str, *, host: str) -> bool:
        return origin in (f"http://{host}", f"https://{host}") or origin in self._origins

    def _answers(self, host: str) -> bool:
        return any(
            allowed in ("*", host) or (allowed.startswith("*.") and host.endswith(allowed[1:]))
            for allowed in self._hosts
        )


class RateGuard:
    """No more than so many requests a minute for one token that is valid, for one address of all others.

    A token is counted by its address until it has proved valid here, and once it is not any more: made-up
    ones neither evade the limit nor take the place of valid ones. Both are refused in the same words, and
    neither is looked up for that.
    """

    def __init__(self, app: ASGIApp, *, per_minute: int) -> None:
        self._app = app
        self._tokens = Rates(per_minute)
        self._addresses = Rates(per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        secret, address = bearer_secret(scope), (scope.get("client") or ("",))[0]
        is_proved = secret in self._tokens
        wait_s = self._tokens.wait_s(secret) if is_proved else self._addresses.wait_s(address)
        if wait_s > 0:
            await _too_many(wait_s)(scope, receive, send)
            return

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start" and PRINCIPAL in scope:
                is_valid = scope[PRINCIPAL] is not None
                if is_valid and not is_proved:
                    self._addresses.give_back(address)
                    self._tokens.wait_s(secret)
                elif is_proved and not is_valid and message["status"] == 401:
                    self._tokens.forget(secret)
                    self._addresses.wait_s(address)
            await send(message)

        await self._app(scope, receive, send_counted)


class BodyGuard:
    """Reads no more of a body than its route takes, whether its length was announced or not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = _announced(scope)
        request, read, too_large, started = current(), 0, False, False

        async def receive_bounded() -> Message:
            nonlocal read, too_large
            too_large = too_large or announced > request.body_limit
            if not too_large:
                message = await receive()
                read += len(message.get("body", b""))
                too_large = read > request.body_limit
            if too_large:
                raise _too_large(request.body_limit)
            return message

        async def send_unless_too_large(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive_bounded, send_unless_too_large)
        except AutoscorerError as exc:
            if exc.code != "TOO_LARGE" or started:
                raise
            await refusal(exc)(scope, receive, send)


def values_of(scope: Scope, name: bytes) -> list[str]:
    """The values of the header ``name``, which is in small letters. Every request asks for several."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def bearer_secret(scope: Scope) -> str:
    """The token that a request shows, however it is spaced; empty if it shows none."""
    scheme, _, secret = next(iter(values_of(scope, b"authorization")), "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdecimal() else host).lower()


def _framed(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """``headers`` with the request's id, and with those security headers that a route has not set itself."""
    kept = [header for header in headers if header[0] != _REQUEST_ID]
    names = {name for name, _ in kept}
    added = [header for header in _SECURITY_HEADERS if header[0] not in names]
    return [*kept, (_REQUEST_ID, request_id.encode("ascii")), *added]


def _announced(scope: Scope) -> int:
    text = next(iter(values_of(scope, b"content-length")), "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0


def _too_large(limit: int) -> AutoscorerError:
    message = f"The body has more than the {limit} bytes that this address takes."
    return AutoscorerError("TOO_LARGE", message, {"limit_bytes": limit})


def _too_many(wait_s: float) -> Response:
    seconds = max(1, -int(-wait_s // 1))
    message = f"Too many requests; the next one is answered in {seconds} s."
    error = AutoscorerError("RATE_LIMITED", message, {"retry_after_s": seconds})
    return refusal(error, headers={"Retry-After": str(seconds)})
