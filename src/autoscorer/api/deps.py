"""What a route asks for: the service, who calls, a permission; and how a request is read on the way."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Header
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal
from autoscorer.api.answers import Refusal
from autoscorer.api.faults import bad_request
from autoscorer.api.guards import PRINCIPAL, bearer_secret
from autoscorer.api.service import Service
from autoscorer.schemas.job import SpecFault
from autoscorer.schemas.strict_json import parse_strict
from autoscorer.utils.errors import AutoscorerError

NO_TOKEN: dict[str, Any] = {"security": []}  # `openapi_extra` of a route that needs none; OpenAPI's own words
_QUICK_BYTES = 64 * 2**10  # as much is read in a millisecond; more would keep all others waiting
_REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Refusal, "description": "What is wrong with the request, or with the job"},
    "5XX": {"model": Refusal, "description": "What is wrong with the service"},
}


class Route(APIRoute):
    """Before anything of a request is read its token is checked, and a body must be strict JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        is_open = (self.openapi_extra or {}).get("security") == []
        takes_json = bool(self.dependant.body_params)

        async def guarded(request: Request) -> Response:
            if not is_open:
                secret = bearer(request)
                tokens = request.app.state.service.tokens
                request.scope[PRINCIPAL] = None
                principal = tokens.known(secret)
                if principal is None:
                    principal = await run_in_threadpool(tokens.authenticate, secret)
                request.scope[PRINCIPAL] = principal
            if takes_json:
                _check_type(request)
                request = _StrictRequest(request.scope, request.receive)
            return await answer(request)

        return guarded


def make_router(tag: str, *, prefix: str = "") -> APIRouter:
    """A router whose routes need a token, unless one says `openapi_extra=NO_TOKEN`."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=Route, responses=_REFUSALS)


def bearer(request: Request) -> str:
    """The token of a request. Raises UNAUTHENTICATED."""
    secret = bearer_secret(request.scope)
    if not secret:
        raise AutoscorerError("UNAUTHENTICATED", "A token is needed: Authorization: Bearer TOKEN.")
    return secret


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


def _principal(request: Request) -> Principal:
    return cast(Principal, request.scope[PRINCIPAL])


async def _given_service(request: Request) -> Service:
    return _service(request)


def may(permission: Permission) -> Any:
    """Who calls, as a dependency. Refuses with FORBIDDEN a role that never has ``permission``.

    Whether it reaches over a certain thing is the route's to ask: `Principal.require`.
    """

    async def checked(request: Request) -> Principal:
        principal = _principal(request)
        principal.reach(permission)
        return principal

    return Depends(checked)


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description="The same key and request within the job's retention give the same job.",
    ),
]
GivenService = Annotated[Service, Depends(_given_service)]


class _StrictRequest(Request):
    async def json(self) -> Any:
        try:
            content = await self.body()
            if len(content) > _QUICK_BYTES:
                return await run_in_threadpool(parse_strict, content)
            return parse_strict(content)
        except UnicodeDecodeError as exc:
            raise bad_request([SpecFault("body", "is not UTF-8 text")]) from exc
        except ValueError as exc:
            raise bad_request([SpecFault("body", str(exc))]) from exc


def _check_type(request: Request) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != "application/json" and not (given.startswith("application/") and given.endswith("+json")):
        fault = SpecFault("Content-Type", f"is {given or 'absent'}", "application/json")
        raise bad_request([fault], cause="media_type")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        fault = SpecFault("Content-Encoding", f"is {encoding}", "the JSON as it is, not compressed")
        raise bad_request([fault], cause="media_type")
