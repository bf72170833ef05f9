"""What a person sees on a terminal of 80 columns."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from autoscorer.commands._panels import table

ID = "078fe43b-0549-478a-8083-d3374dadc783"


def test_an_id_can_be_copied_however_narrow_the_terminal_is() -> None:
    screen = StringIO()
    console = Console(width=80, file=screen)
    console.print(table(("id", "state", "latest failure"), [(ID, "pending", "nobody listens there: " * 4)]))
    assert ID in screen.getvalue()
