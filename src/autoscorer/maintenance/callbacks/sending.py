"""One POST to a stranger: to the vetted address only, for so long and no longer, reading next to nothing."""

from __future__ import annotations

import asyncio
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TypeVar
from urllib.parse import urlsplit

import httpx

from autoscorer import __version__
from autoscorer.callback_addresses import Resolve, Target, check_callback_url, vetted_addresses
from autoscorer.maintenance.callbacks.verdicts import Answer
from autoscorer.utils.errors import AutoscorerError

READ_BYTES = 4096  # of an answer's body: so that a short one ends in peace
READ_S = 1.0

T = TypeVar("T")


def resolve(host: str, port: int) -> list[str]:
    """The IP addresses of a name, as the system finds them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class Sender:
    """Sends callbacks. Safe to use from several threads; keeps no connection and no cookie."""

    def __init__(
        self,
        *,
        timeout_s: float,
        allowed_hosts: Sequence[str],
        resolve: Resolve = resolve,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._allowed_hosts = tuple(allowed_hosts)
        self._resolve = resolve
        self._given_trust = trust

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post ``body`` and hear what the receiver says. Raises nothing that a receiver can bring about."""
        give_up_at = time.monotonic() + self._timeout_s
        try:
            target = check_callback_url(url, self._allowed_hosts)
            addresses = within(self._timeout_s, lambda: self._vetted(target))
            return asyncio.run(self._post(target, addresses, headers, body, give_up_at))
        except AutoscorerError as exc:
            return Answer(problem=exc.message)
        except TimeoutError:
            return Answer(problem=f"no answer within {self._timeout_s:g} seconds")
        except (OSError, httpx.HTTPError, httpx.InvalidURL) as exc:
            return Answer(problem=problem_of(exc))

    def _vetted(self, target: Target) -> tuple[str, ...]:
        return vetted_addresses(target, self._allowed_hosts, self._resolve)

    async def _post(
        self,
        target: Target,
        addresses: Sequence[str],
        headers: Mapping[str, str],
        body: bytes,
        give_up_at: float,
    ) -> Answer:
        """Try the addresses in turn until one takes the connection.

        The time limit is over all of it: httpx's own start anew with every byte.
        """
        async with asyncio.timeout(max(0.0, give_up_at - time.monotonic())):
            for number, address in enumerate(addresses, start=1):
                patience_s = (give_up_at - time.monotonic()) / (len(addresses) - number + 1)
                try:
                    return await self._post_to(address, target, headers, body, patience_s)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    if number == len(addresses):
                        raise
        raise TimeoutError

    async def _post_to(
        self, address: str, target: Target, headers: Mapping[str, str], body: bytes, connect_s: float
    ) -> Answer:
        request = httpx.Request(
            "POST",
            _url_at(address, target),
            headers={**headers, **_own_headers(target, body)},
            stream=httpx.ByteStream(body),
            # The certificate is checked against the name, though the connection goes to the address.
            extensions={
                "sni_hostname": target.host,
                "timeout": {"connect": connect_s, "read": None, "write": None, "pool": None},
            },
        )
        async with httpx.AsyncHTTPTransport(verify=self._trust, trust_env=False) as transport:
            response = await transport.handle_async_request(request)
            try:
                await _read_a_little(response)
                return Answer(status=response.status_code, retry_after=response.headers.get("retry-after"))
            finally:
                await response.aclose()

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        """The authorities of this machine, where the operator's own may be, and those of the web."""
        if self._given_trust is not None:
            return self._given_trust
        context = httpx.create_ssl_context(trust_env=False)
        context.load_default_certs()
        return context


def _url_at(address: str, target: Target) -> httpx.URL:
    parts = urlsplit(target.url)
    raw_path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return httpx.URL(scheme=target.scheme, host=address, port=target.port, raw_path=raw_path.encode("ascii"))


def _own_headers(target: Target, body: bytes) -> dict[str, str]:
    host = f"[{target.host}]" if ":" in target.host else target.host
    is_usual = target.port == {"http": 80, "https": 443}[target.scheme]
    return {
        "Host": host if is_usual else f"{host}:{target.port}",
        "User-Agent": f"AutoScorer/{__version__}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Accept-Encoding": "identity",
        "Connection": "close",
    }


async def _read_a_little(response: httpx.Response) -> None:
    """The status has decided; a body that drips, breaks or never ends changes nothing."""
    read = 0
    try:
        async with asyncio.timeout(READ_S):
            async for chunk in response.stream:  # type: ignore[union-attr]  # that of an async transport
                read += len(chunk)
                if read >= READ_BYTES:
                    return
    except (TimeoutError, httpx.HTTPError):
        return


def within(seconds: float, ask: Callable[[], T]) -> T:
    """What ``ask`` answers or raises, or TimeoutError: a resolver that hangs is left to itself."""
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except BaseException as exc:  # boundary of a thread: told to whoever asked
            answers.put((None, exc))

    threading.Thread(target=run, name="resolve", daemon=True).start()
    try:
        answer, fault = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if fault is not None:
        raise fault
    return answer  # type: ignore[return-value]


def problem_of(exc: BaseException) -> str:
    """What kept a message from arriving, in words for the organiser; nothing the receiver wrote."""
    causes = list(_causes(exc))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {_printable(cause.verify_message)}"
    for kind, words in _PROBLEMS:
        if any(isinstance(cause, kind) for cause in causes):
            return words
    return "the connection failed"


_PROBLEMS: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLError, "TLS could not be set up"),
    (socket.gaierror, "its name cannot be resolved"),
    (ConnectionRefusedError, "nobody listens there: the connection was refused"),
    (httpx.ConnectTimeout, "no connection in time"),
    (httpx.ConnectError, "it cannot be reached"),
    (httpx.RemoteProtocolError, "its answer is not HTTP, or the connection ended before it"),
    (httpx.TransportError, "the connection broke off"),
    (httpx.InvalidURL, "its address cannot be used"),
)


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:200]
