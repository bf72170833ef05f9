"""Requests and their answers over HTTP: bounded in time and size, tried again where that is safe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from autoscorer import __version__
from autoscorer.client.answers import read_answer
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.retry import BackOff, retry_transient

try:
    import httpx
except ModuleNotFoundError as exc:
    message = "the client needs httpx: `pip install 'autoscorer[client]'`"
    raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="configuration") from exc

CONNECT_S = 5.0
STREAM_SILENCE_S = 45.0  # a stream of the service says something every 15 s
MAX_ANSWER_BYTES = 64 * 2**20
BACK_OFF = BackOff(tries=4, first_wait_s=0.2, longest_wait_s=5.0, budget_s=90.0)
_PASSING = {"STORE_UNAVAILABLE", "SERVICE_UNREACHABLE"}


class Connection:
    """One service and one token. Safe to use from several threads; `close` ends it."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = 30.0,
        trust_env: bool = False,
        back_off: BackOff = BACK_OFF,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = _checked_url(url)
        self._timeout_s = timeout_s
        self._back_off = back_off
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=self.url,
            headers={
                "Accept": "application/json",
                "Authorization": f"Bearer {_checked_token(token)}",
                "User-Agent": f"autoscorer/{__version__}",
                "Accept-Encoding": "identity",  # what is small when packed and huge when not stays small
            },
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_S),
            trust_env=trust_env,
            follow_redirects=False,
        )

    def __repr__(self) -> str:
        return f"Connection({self.url!r})"

    def close(self) -> None:
        """End it. Safe to call twice."""
        self._http.close()

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The data that is there. Raises AutoscorerError."""
        return self._ask("GET", path, repeatable=True, params=_given(query or {}))

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, key: str | None = None
    ) -> dict[str, Any]:
        """What a deed answers; with an idempotency ``key`` it may be sent again. Raises AutoscorerError."""
        headers = {"Idempotency-Key": key} if key else {}
        return self._ask("POST", path, repeatable=key is not None, json=_given(body or {}), headers=headers)

    def repeat(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A deed that, done twice, is done once, such as a cancel. Raises AutoscorerError."""
        return self._ask(method, path, repeatable=True, json=None if body is None else _given(body))

    def send(self, path: str, content: Iterator[bytes], *, headers: Mapping[str, str]) -> dict[str, Any]:
        """Send a body of any size, once. Raises AutoscorerError."""
        with self._translated(path, self._timeout_s):
            request = self._http.build_request("POST", path, content=content, headers=headers)
            response = self._http.send(request, stream=True)
            try:
                return self._read(response, path)
            finally:
                response.close()

    @contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str] | None = None, silence_s: float = STREAM_SILENCE_S
    ) -> Iterator[httpx.Response]:
        """An answer that is read as it comes; whoever reads it does so in the block.

        Raises AutoscorerError: the service refuses, or is silent for longer than ``silence_s``.
        """
        timeout = httpx.Timeout(self._timeout_s, connect=CONNECT_S, read=silence_s)
        with self._translated(path, silence_s):
            request = self._http.build_request("GET", path, headers=headers, timeout=timeout)
            response = self._http.send(request, stream=True)
            try:
                if response.status_code >= 300:
                    self._read(response, path)
                yield response
            finally:
                response.close()

    def retried(self, call: Callable[[], Any], *, repeatable: bool = True) -> Any:
        """``call``, tried again while its failure may pass and to repeat it is safe."""

        def is_worth(error: BaseException) -> bool:
            return isinstance(error, AutoscorerError) and may_pass(error, repeatable=repeatable)

        return retry_transient(
            call,
            back_off=self._back_off,
            is_worth=is_worth,
            asked_wait_s=_asked_wait_s,
            sleep=self._sleep,
        )

    def _ask(self, method: str, path: str, *, repeatable: bool, **request: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.retried(
            lambda: self._ask_once(method, path, **request), repeatable=repeatable
        )
        return answer

    def _ask_once(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        with self._translated(path, self._timeout_s), self._http.stream(method, path, **request) as response:
            return self._read(response, path)

    def _read(self, response: httpx.Response, path: str) -> dict[str, Any]:
        """The data of the whole answer, of bounded size, within bounded time."""
        content = bytearray()
        deadline = time.monotonic() + self._timeout_s
        for chunk in response.iter_raw():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise self._unreachable(
                    path, f"answers with more than {MAX_ANSWER_BYTES} bytes", reached=True
                )
            if time.monotonic() > deadline:
                raise self._unreachable(
                    path, f"did not end its answer in {self._timeout_s:g} s", reached=True
                )
        return read_answer(response.status_code, bytes(content), response.headers, where=self._where(path))

    @contextmanager
    def _translated(self, path: str, timeout_s: float) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            raise self._unreachable("", f"cannot be reached ({_reason(exc)})", reached=False) from exc
        except httpx.TimeoutException as exc:
            error = self._unreachable(path, f"did not answer in {timeout_s:.3g} s", reached=True)
            error.details["silent"] = True
            raise error from exc
        except httpx.HTTPError as exc:
            raise self._unreachable(path, f"broke the connection off ({_reason(exc)})", reached=True) from exc

    def _where(self, path: str) -> str:
        return f"{self.url}{path}"

    def _unreachable(self, path: str, what: str, *, reached: bool) -> AutoscorerError:
        details = {"url": self.url, "reached": reached}
        return AutoscorerError("SERVICE_UNREACHABLE", f"{self._where(path)} {what}", details)


def may_pass(error: AutoscorerError, *, repeatable: bool = True) -> bool:
    """Whether the same request may succeed by itself, and to send it again does no harm."""
    if error.code == "RATE_LIMITED":  # refused before anything was done
        return True
    passing = error.code in _PASSING or error.details.get("http_status") == 503
    return passing and (repeatable or error.details.get("reached") is False)


def _asked_wait_s(error: AutoscorerError) -> float | None:
    asked = error.details.get("retry_after_s")
    return float(asked) if isinstance(asked, (int, float)) and asked >= 0 else None


def in_path(part: str) -> str:
    """A name as one part of an address, whatever characters it has."""
    return quote(part, safe="") if part.strip(".") else part.replace(".", "%2E")


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_whole = False
    if not is_whole or parts.username is not None or parts.query or parts.fragment:
        message = (
            "the service's address must be like https://score.example.org, without user, query or fragment"
        )
        raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="configuration")
    return url.rstrip("/")


def _checked_token(token: str) -> str:
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        message = "the token is empty or holds characters that no token has; was it copied whole?"
        raise AutoscorerError("UNAUTHENTICATED", message)
    return token


def _reason(exc: BaseException) -> str:
    """What the system says of it, without httpx's and httpcore's wrapping."""
    while exc.__cause__ is not None or exc.__context__ is not None:
        exc = exc.__cause__ or exc.__context__ or exc
    return (exc.strerror if isinstance(exc, OSError) else "") or str(exc) or type(exc).__name__
