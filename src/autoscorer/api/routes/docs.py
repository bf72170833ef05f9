"""What the API takes and answers: its OpenAPI schema, and a page of it that needs nothing from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from autoscorer.api.deps import make_router

router = make_router("docs")
_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto}code{background:#eee}td{padding:.2em 1em}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


@router.get("/openapi.json", include_in_schema=False)
async def schema(request: Request) -> Response:
    """The OpenAPI schema of all addresses."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", include_in_schema=False)
async def page(request: Request) -> Response:
    """Every address with what it does."""
    return HTMLResponse(docs_page(request.app.openapi()), headers={"Content-Security-Policy": _POLICY})


def docs_page(schema: dict[str, Any]) -> str:
    """The schema's addresses as a page."""
    rows = "\n".join(_row(*found) for found in endpoints(schema))
    title = html.escape(f"{schema['info']['title']} {schema['info']['version']}")
    about = html.escape(schema["info"]["description"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>{about} Requests, answers and examples: <a href=openapi.json>openapi.json</a>."
        f"<table>{rows}</table></html>"
    )


def endpoints(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation of every address, in the order of the schema."""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _row(method: str, path: str, operation: dict[str, Any]) -> str:
    summary = html.escape(operation.get("summary", ""))
    about = html.escape(operation.get("description", ""))
    return f"<tr><td><code>{method} {html.escape(path)}</code><td>{summary}. {about}"
