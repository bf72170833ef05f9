"""Is it alive, can it work: asked without a token by whoever watches over the service."""

from __future__ import annotations

from fastapi.responses import Response

from autoscorer.api.answers import answer, refusal
from autoscorer.api.deps import NO_TOKEN, GivenService, make_router
from autoscorer.utils.errors import AutoscorerError
from autoscorer.worker import low_disk

router = make_router("health")
_CODES = {
    "store": ("STORE_UNAVAILABLE", ""),
    "disk": ("RESOURCE_UNAVAILABLE", "disk"),
    "process": ("RESOURCE_UNAVAILABLE", ""),
}


@router.get("/healthz", openapi_extra=NO_TOKEN, summary="The process is alive")
async def healthz() -> Response:
    """Answers as long as the process does; asks nobody else."""
    return answer({"alive": True})


@router.get("/readyz", openapi_extra=NO_TOKEN, summary="It can take jobs")
def readyz(service: GivenService) -> Response:
    """The store answers, the disks have room, this process is whole; else 503 and which of them fails."""
    checks: dict[str, str] = {}
    try:
        service.store.check()
    except AutoscorerError as exc:
        checks["store"] = exc.message
    if (short := low_disk(service.settings)) is not None:
        checks["disk"] = short
    if faults := service.faults():
        checks["process"] = "; ".join(faults)
    if not checks:
        return answer({"ready": True})
    first = next(name for name in _CODES if name in checks)
    code, cause = _CODES[first]
    message = "; ".join(checks.values())
    error = AutoscorerError(code, message, {"failing": sorted(checks)}, cause=cause)
    return refusal(error, data={"ready": False, "failing": checks})
