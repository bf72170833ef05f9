"""`autoscorer serve`: start the service: API, worker and maintenance in one process."""

from __future__ import annotations

from typing import Annotated

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._options import JsonOption


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
        from autoscorer.commands._panels import pairs, printable

        settings = frame.settings

        def tell(site: serving.Site) -> None:
            typer.echo(
                printable(f"serving at {site.url}; its token is in {site.beacon.token_path}; end with Ctrl-C")
            )

        with (
            Stops() as stops,
            serving.opened(
                settings,
                host=settings.api_host if host is None else host,
                port=settings.api_port if port is None else port,
            ) as opened,
        ):
            opened.run(stops, tell)
        return Answer({"url": opened.site.url}, lambda: pairs({"stopped": opened.site.url}))

    execute(context, work, as_json=as_json)
