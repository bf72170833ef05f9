"""The application: guards around routes, every fault answered in the envelope."""

from __future__ import annotations

import importlib
import ipaddress
import pkgutil
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from autoscorer import __version__
from autoscorer.api import faults, routes
from autoscorer.api.guards import REQUEST_ID, BodyGuard, HostGuard, RateGuard, RequestFrame
from autoscorer.api.metering import Meter
from autoscorer.api.service import Service
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError

_ABOUT = (
    "Scores machine-learning competitions. Every answer is one envelope: {ok, status, data, error, meta}."
)


def create_app(service: Service) -> FastAPI:
    """The API over ``service``; its docs are ours, for FastAPI's load from the internet."""
    app = FastAPI(
        title="AutoScorer",
        version=__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        middleware=_guards(service.settings),
        lifespan=_lifespan,
    )
    app.state.service = service
    app.add_exception_handler(AutoscorerError, faults.on_our_error)
    app.add_exception_handler(RequestValidationError, faults.on_invalid)
    app.add_exception_handler(HTTPException, faults.on_http)
    for router in routers():
        # `include_router` would look for a route twice, and our routers are as they are to be.
        app.router.routes.extend(router.routes)
    _describe_security(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await run_in_threadpool(app.state.service.watches.close)


def routers() -> Iterator[APIRouter]:
    """The router of every file in `routes`."""
    for module in sorted(pkgutil.iter_modules(routes.__path__), key=lambda found: found.name):
        router: APIRouter = importlib.import_module(f"{routes.__name__}.{module.name}").router
        yield router


def _guards(settings: Settings) -> list[Middleware]:
    """Outermost first."""
    origins = list(settings.api_allowed_origins)
    public = [settings.public_url] if settings.public_url else []
    guards = [
        Middleware(Meter),
        Middleware(RequestFrame, max_body_bytes=settings.api_max_body_bytes),
        Middleware(HostGuard, hosts=settings.api_allowed_hosts, origins=[*origins, *public]),
        Middleware(RateGuard, per_minute=settings.rate_limit_per_minute),
        Middleware(BodyGuard),
    ]
    if origins:
        guards.insert(
            3,
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key", REQUEST_ID],
                expose_headers=["Location", "Retry-After", REQUEST_ID],
            ),
        )
    if settings.api_trusted_proxies:
        from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

        trusted = [*settings.api_trusted_proxies, *_mapped(settings.api_trusted_proxies)]
        guards.insert(0, Middleware(ProxyHeadersMiddleware, trusted_hosts=trusted))
    return guards


def _mapped(networks: Iterable[str]) -> Iterator[str]:
    """How IPv4 ``networks`` look to a socket that listens on `::` (RFC 4291, 2.5.5.2)."""
    for network in map(ipaddress.ip_network, networks):
        if network.version == 4:
            yield f"::ffff:{network.network_address}/{96 + network.prefixlen}"


def _describe_security(app: FastAPI) -> None:
    """OpenAPI says that every request needs a token, as `deps.Route` has it."""
    make_schema = app.openapi

    def openapi() -> dict[str, Any]:
        schema = make_schema()
        schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["token"] = {"type": "http", "scheme": "bearer"}
        schema["security"] = [{"token": []}]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
