"""What Prometheus reads, behind a token of its own."""

from __future__ import annotations

from fastapi.responses import Response
from starlette.requests import Request

from autoscorer.api.deps import NO_TOKEN, GivenService, bearer, make_router
from autoscorer.monitoring.scrape import CONTENT_TYPE
from autoscorer.monitoring.token import is_metrics_token
from autoscorer.utils.errors import AutoscorerError

router = make_router("health")


@router.get("/metrics", openapi_extra=NO_TOKEN, include_in_schema=False)
def metrics(request: Request, service: GivenService) -> Response:
    """How the service does, in Prometheus' text format. A user's token is refused: there is one for this."""
    if not is_metrics_token(bearer(request), service.metrics_token):
        message = "/metrics takes a token of its own: METRICS_TOKEN, or DATA_DIR/metrics.token."
        raise AutoscorerError("UNAUTHENTICATED", message)
    return Response(service.scrape.text(), media_type=CONTENT_TYPE)
