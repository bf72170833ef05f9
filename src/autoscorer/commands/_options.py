"""The options that several commands share, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

WorkspaceArgument = Annotated[str, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON (the default in a pipe).")]
BackendOption = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="Where to run: docker, local, or auto (Docker where an engine answers)."
    ),
]
IsolationOption = Annotated[
    str,
    typer.Option(
        metavar="hardened|trusted",
        help="Local backend: a sandbox, or a plain process for code you trust.",
    ),
]
KeepOption = Annotated[bool, typer.Option("--keep", help="Keep the attempt's folder in .attempts/.")]
IsolateOption = Annotated[
    bool, typer.Option("--isolate", help="Score in a confined process apart, the built-in scorers too.")
]
PlotsOption = Annotated[
    bool, typer.Option("--plots", help="Draw pictures of the result, too (needs the extra `plots`).")
]
NoCacheOption = Annotated[
    bool, typer.Option("--no-cache", help="Compute the score even if it is known, and do not keep it.")
]
