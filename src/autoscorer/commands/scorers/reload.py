"""`autoscorer scorers reload`: load a file again; what it was before serves until the new one has passed."""

from __future__ import annotations

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._loads import FileOption, ReplaceOption, loaded_answer
from autoscorer.commands._options import JsonOption


def command(
    context: typer.Context,
    *,
    file_path: FileOption,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Load a file or a package folder again, named by its path or by a scorer's name."""

    def work(frame: Frame) -> Answer:
        return loaded_answer(frame.catalog.library.reload(file_path, replace=replace))

    execute(context, work, as_json=as_json)
