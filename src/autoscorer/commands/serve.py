"""`autoscorer serve`: start the service: API, worker and maintenance in one process."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from autoscorer.commands._frame import EXIT_PLATFORM, Answer, Frame, execute
from autoscorer.commands._options import JsonOption

if TYPE_CHECKING:
    from rich.console import RenderableType

    from autoscorer.api.site import Site


def command(
    context: typer.Context,
    *,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Where to listen.", show_default="API_HOST")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="Where to listen; 0: any free port.", show_default="API_PORT"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start the service: API, worker and maintenance in one process, until it is told to stop."""

    def work(frame: Frame) -> Answer:
        from autoscorer.api import serving
        from autoscorer.api.stopping import Stops
        from autoscorer.commands._panels import pairs
        from autoscorer.confine.namespaces import attempt, hide_memory

        attempt(hide_memory)  # /proc/PID/environ holds what scorers, of the same user in a pod, must not read
        settings = frame.settings
        address = settings.api_host if host is None else host
        at_port = settings.api_port if port is None else port
        with Stops() as stops, serving.opened(settings, host=address, port=at_port) as opened:
            faults = opened.run(
                stops, on_ready=lambda site: _tell(frame, site), on_stopping=lambda: _tell_stopping(frame)
            )
        exit_code = EXIT_PLATFORM if faults else 0
        shown = {"stopped": opened.site.url, **({"because": faults} if faults else {})}
        data = {"stopped": opened.site.url, "faults": faults}
        return Answer(data, lambda: pairs(shown), exit_code=exit_code, is_told=frame.as_json and not faults)

    execute(context, work, as_json=as_json)


def _tell(frame: Frame, site: Site) -> None:
    """Say that requests are answered: one line of JSON, or a panel."""
    warnings = [*frame.warnings, *site.warnings()]
    if frame.as_json:
        told = {"event": "serving", **site.to_json(), "warnings": [one.model_dump() for one in warnings]}
        print(json.dumps(told), flush=True)  # noqa: T201 - a line of its own, now
        return
    from autoscorer.commands._panels import show

    frame.end_progress()
    show(_panel(site), warnings)


def _tell_stopping(frame: Frame) -> None:
    if not frame.as_json:
        grace_s = frame.settings.worker_grace_s
        text = f"stopping: jobs under way have {grace_s} s to end, then they are handed over; Ctrl-C: at once"
        print(text, file=sys.stderr)  # noqa: T201


def _panel(site: Site) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from autoscorer.commands._panels import pairs, titled

    settings, token = site.settings, site.beacon.token_path
    slots = f"{site.slots} jobs at once" if site.slots else "none here: CELERY_BROKER is set"
    rows = {
        "token": f"in {token}",
        "workspaces": site.beacon.workspace_root,
        "scorers": settings.scorers_dir or "SCORERS_DIR is not set: none can be loaded from a file",
        "jobs": "in the database of DATABASE_URL" if settings.database_url else settings.data_dir / "jobs.db",
        "worker": slots,
        **{name: f"no: {why}" if why else "ready" for name, why in site.backends.items()},
        "stop": f"Ctrl-C; jobs under way have {settings.worker_grace_s} s to end",
    }
    to_try = (
        f"TOKEN=$(cat {token})\n"
        f'curl -X POST {site.url}/pipeline -H "Authorization: Bearer $TOKEN" \\\n'
        "  -H 'Content-Type: application/json' -d '{\"workspace\": \"WORKSPACE\"}'\n"
        f"{_prefix(site)}autoscorer submit WORKSPACE --action pipeline --wait"
    )
    # Below the box and unbroken, so that it can be copied.
    shown = Text(to_try, style="cyan", no_wrap=True, overflow="ignore")
    return Group(titled(f"serving at {site.url}", pairs(rows), colour="green"), shown)


def _prefix(site: Site) -> str:
    """What the commands have to be told, if it is not what they take for granted."""
    return "" if site.url == site.settings.service_url else f"SERVICE_URL={site.url} "
