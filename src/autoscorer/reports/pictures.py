"""Pictures of a result, drawn from the tables it lists: one for each table that a figure is called after."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import pkgutil
from pathlib import Path
from types import ModuleType

from autoscorer.reports import figures
from autoscorer.reports.drawn_table import UndrawableError, read_drawn_table
from autoscorer.schemas.result import Artifact, Result
from autoscorer.utils.artifacts import open_regular, write_fresh
from autoscorer.utils.errors import AutoscorerError

SUFFIX = "_picture"
NOT_DRAWN = "PICTURE_NOT_DRAWN"
MOST_TABLE_BYTES = 32 * 2**20


def check_can_draw() -> None:
    """Nothing, if pictures can be drawn here. Raises RESOURCE_UNAVAILABLE without the extra ``plots``."""
    if importlib.util.find_spec("matplotlib") is None:
        message = "pictures need `pip install 'autoscorer[plots]'`"
        raise AutoscorerError("RESOURCE_UNAVAILABLE", message, {"missing": "matplotlib"})


def drawable_names() -> list[str]:
    """The tables there are figures for: one `figures/<name>.py` each."""
    return sorted(module.name for module in pkgutil.iter_modules(figures.__path__))


def add_pictures(result: Result, output_dir: Path) -> tuple[Result, list[str]]:
    """Draw what the result's tables in ``output_dir`` allow, as `artifacts/<name>.png`.

    Returns the result with the pictures listed, each showing the truth if its table does, and what could
    not be drawn and why. A file of that name that the scorer made itself stays.
    """
    added: dict[str, Artifact] = {}
    doubts: list[str] = []
    taken = {artifact.path for artifact in result.artifacts.values()}
    for name in drawable_names():
        table, path = result.artifacts.get(name), f"artifacts/{name}.png"
        if table is None or path in taken or f"{name}{SUFFIX}" in result.artifacts:
            continue
        try:
            content = _drawn(name, table, output_dir)
        except UndrawableError as exc:
            doubts.append(f"{table.path} is not drawn: {exc}")
            continue
        write_fresh(output_dir / path, content)
        added[f"{name}{SUFFIX}"] = Artifact(
            path=path,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            shows_truth=table.shows_truth,
            media_type="image/png",
        )
    return result.model_copy(update={"artifacts": {**result.artifacts, **added}}), doubts


def _drawn(name: str, table: Artifact, output_dir: Path) -> bytes:
    if table.media_type != "text/csv" or table.size > MOST_TABLE_BYTES:
        raise UndrawableError(f"it is no CSV table of at most {MOST_TABLE_BYTES} bytes")
    with os.fdopen(open_regular(output_dir / table.path, follow_links=False), "rb") as file:
        content = file.read(MOST_TABLE_BYTES)
    drawn = read_drawn_table(content, table.rows_in_all)
    # Not before there is something to draw: matplotlib takes 0.3 s to import.
    figure: ModuleType = importlib.import_module(f"{figures.__name__}.{name}")
    from autoscorer.reports.canvas import png

    return png(figure.draw, drawn)
