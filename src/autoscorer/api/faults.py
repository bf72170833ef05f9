"""Whatever goes wrong in a request, as one of our errors: the boundary between requests and the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from autoscorer.api.answers import refusal
from autoscorer.schemas.job import SpecFault, told_fault
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event

if TYPE_CHECKING:
    from fastapi._compat import ModelField

_SHOWN = 20


async def on_our_error(_request: Request, exc: Exception) -> Response:
    """An error of ours, with the status of its code."""
    assert isinstance(exc, AutoscorerError)
    return refusal(exc)


async def on_invalid(request: Request, exc: Exception) -> Response:
    """What a request says that its address does not take, every fault at once."""
    assert isinstance(exc, RequestValidationError)
    models = _models(request.scope.get("route"))
    errors = exc.errors()
    faults = [_in_place(error, models) for error in errors[:_SHOWN]]
    return refusal(bad_request(faults, n_more=len(errors) - len(faults)))


async def on_http(request: Request, exc: Exception) -> Response:
    """What the router or the reading of a body refuses."""
    assert isinstance(exc, HTTPException)
    if isinstance(exc.__cause__, AutoscorerError):  # raised while the body was read
        return refusal(exc.__cause__)
    headers = {"Allow": _allowed(request)} if exc.status_code == 405 else exc.headers
    return refusal(_of_http(request, exc), headers=headers)


async def on_unexpected(request: Request, exc: Exception) -> Response:
    """Boundary of a request: our own fault is told without its words, and logged with them."""
    return refusal(internal(exc, request.scope))


def internal(exc: BaseException, scope: Mapping[str, Any]) -> AutoscorerError:
    """INTERNAL_ERROR for a fault of ours, which is logged."""
    log_event("ERROR", "request_internal_error", error=exc, method=scope["method"], path=scope["path"])
    message = f"unexpected {type(exc).__name__} in the platform"
    return AutoscorerError("INTERNAL_ERROR", message, stage="api")


def bad_request(faults: list[SpecFault], *, cause: str = "", n_more: int = 0) -> AutoscorerError:
    """BAD_REQUEST that carries these faults and says that there are ``n_more``."""
    message = "; ".join(str(fault) for fault in faults[:5])
    n_untold = max(len(faults) - 5, 0) + n_more
    more = f"; and {n_untold} more" if n_untold else ""
    details = {"faults": [fault.to_json() for fault in faults[:_SHOWN]]}
    return AutoscorerError("BAD_REQUEST", message + more, details, cause=cause)


def _of_http(request: Request, exc: HTTPException) -> AutoscorerError:
    match exc.status_code:
        case 404:
            return AutoscorerError("NOT_FOUND", f"There is no address {request.url.path}.", cause="address")
        case 405:
            message = f"{request.url.path} does not take {request.method}."
            return AutoscorerError("BAD_REQUEST", message, cause="method")
        case status if status < 500:
            return AutoscorerError("BAD_REQUEST", f"The request cannot be read ({exc.detail}).")
        case _:
            return internal(exc, request.scope)


def _allowed(request: Request) -> str:
    """The methods that an address takes: the router names those of the first route alone."""
    routes = [context.original_route for context in iter_route_contexts(request.app.routes)]
    fitting = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in fitting for method in getattr(route, "methods", ())}))


def _in_place(error: Any, models: Mapping[str, Mapping[str, type[BaseModel]]]) -> SpecFault:
    """A fault of validation, named from inside the part of the request it stands in."""
    part, *rest = error["loc"]
    if error["type"] == "json_invalid":
        return SpecFault("body", f"is not valid JSON: {error['ctx']['error']} at byte {rest[0]}")
    return told_fault({**error, "loc": rest}, models.get(part, {}), whole=part)


def _models(route: object) -> Mapping[str, Mapping[str, type[BaseModel]]]:
    """The models that a route reads: what is known where, for suggestions."""
    if not isinstance(route, APIRoute):
        return {}
    read = {"body": route.dependant.body_params, "query": route.dependant.query_params}
    return {part: _model(fields) for part, fields in read.items()}


def _model(fields: Sequence[ModelField]) -> Mapping[str, type[BaseModel]]:
    found = [field.field_info.annotation for field in fields]
    models = [model for model in found if isinstance(model, type) and issubclass(model, BaseModel)]
    return {"": models[0]} if models else {}
