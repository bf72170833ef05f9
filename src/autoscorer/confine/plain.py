"""The trusted way to run a program: as ourselves, in a folder of its own. Nothing is hidden from it."""

from __future__ import annotations

import shutil
from pathlib import Path

from autoscorer.confine.interpreter import find_interpreter
from autoscorer.confine.spawn import Command
from autoscorer.confine.view import DEFAULT_ENV, View


def plain_command(view: View, program: tuple[str, ...]) -> Command:
    """The workspace contract by links: ``home_dir/work/{input,output,meta.json}``, made here.

    The environment is clean: none of ours is passed on.
    """
    work, scratch, aliases = (view.home_dir / name for name in ("work", "tmp", "bin"))
    for folder in (work, scratch, aliases):
        folder.mkdir(parents=True, exist_ok=True)
    _link(work / "input", view.input_dir)
    _link(work / "output", view.out_dir)
    shutil.copyfile(view.spec_path, work / "meta.json")
    interpreter = find_interpreter()
    for name, target in interpreter.aliases.items():
        _link(aliases / name, target)
    env = {
        "PATH": interpreter.search_path(str(aliases)),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        **DEFAULT_ENV,
        **view.env,
    }
    return Command(argv=program, env=env, cwd=work)


def _link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target.absolute())
