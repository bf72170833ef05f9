"""The sandbox's arguments, by golden lists, and what is said where it cannot start."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoscorer.confine import bubblewrap
from autoscorer.confine.bubblewrap import Host, Sandbox, arguments, usable_bubblewrap
from autoscorer.confine.interpreter import Interpreter, find_interpreter
from autoscorer.confine.view import View
from autoscorer.utils.errors import AutoscorerError

PYTHON = Interpreter(
    bin_dir=Path("/opt/py/bin"), trees=(Path("/opt/py/bin"), Path("/opt/py/lib")), aliases={}
)
HOST = Host(
    interpreter=PYTHON,
    root_links={"/bin": "usr/bin", "/lib": None},
    etc=("/etc/ld.so.cache",),
    proc=frozenset({"sys", "kcore"}),
)
VIEW = View(
    input_dir=Path("/ws/input"),
    out_dir=Path("/ws/.attempts/1/out"),
    spec_path=Path("/ws/meta.json"),
    home_dir=Path("/ws/.attempts/1"),
    tmp_bytes=1000,
    shm_bytes=2000,
    env={"A": "b"},
)


def pairs(args: list[str], option: str, *, values: int) -> list[tuple[str, ...]]:
    return [tuple(args[i + 1 : i + 1 + values]) for i, part in enumerate(args) if part == option]


def test_only_the_system_the_interpreter_and_the_workspace_are_mounted() -> None:
    args = arguments(VIEW, HOST)
    assert pairs(args, "--ro-bind", values=2) == [
        ("/usr", "/usr"),
        ("/lib", "/lib"),
        ("/opt/py/bin", "/opt/py/bin"),
        ("/opt/py/lib", "/opt/py/lib"),
        ("/etc/ld.so.cache", "/etc/ld.so.cache"),
        ("/proc/sys", "/proc/sys"),
        ("/dev/null", "/proc/kcore"),
        ("/ws/input", "/workspace/input"),
        ("/ws/meta.json", "/workspace/meta.json"),
    ]
    assert pairs(args, "--bind", values=2) == [("/ws/.attempts/1/out", "/workspace/output")]
    assert pairs(args, "--symlink", values=2) == [("usr/bin", "/bin")]


def test_every_namespace_is_its_own_and_nothing_is_kept() -> None:
    args = arguments(VIEW, HOST)
    for kind in ("user", "pid", "net", "ipc", "uts"):
        assert f"--unshare-{kind}" in args
    for option in ("--disable-userns", "--new-session", "--die-with-parent", "--clearenv"):
        assert option in args
    assert pairs(args, "--cap-drop", values=1) == [("ALL",)]
    assert pairs(args, "--uid", values=1) == [("65534",)]
    assert pairs(args, "--remount-ro", values=1)[-1] == ("/",)


def test_memory_file_systems_have_a_size() -> None:
    args = arguments(VIEW, HOST)
    assert len(pairs(args, "--tmpfs", values=1)) == len(pairs(args, "--size", values=1)) == 2
    assert args[args.index("/tmp") - 3 : args.index("/tmp") + 1] == ["--size", "1000", "--tmpfs", "/tmp"]


@pytest.mark.parametrize(
    ("hidden", "masked"),
    [("/ws", False), ("/usr/local/ws", True), ("/opt/py/lib/ws", True), ("/usrlocal/ws", False)],
)
def test_a_workspace_inside_a_shown_tree_is_masked(hidden: str, *, masked: bool) -> None:
    view = View(**{**VIEW.__dict__, "hidden": (Path(hidden),)})
    assert ((hidden,) in pairs(arguments(view, HOST), "--tmpfs", values=1)) is masked


def test_the_programs_environment_is_not_bubblewraps_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "usable_bubblewrap", lambda: Path("/usr/bin/bwrap"))
    view = View(**{**VIEW.__dict__, "env": {"LD_PRELOAD": "/workspace/output/evil.so"}})
    sandbox = Sandbox(view, ("true",))
    try:
        assert sandbox.command.env == {}
        assert not any("evil" in part for part in sandbox.command.argv)
    finally:
        sandbox.close()
    assert ("LD_PRELOAD", "/workspace/output/evil.so") in pairs(arguments(view, HOST), "--setenv", values=2)


def broken(folder: Path, script: str) -> str:
    program = folder / "bwrap"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "not installed"),
        ("echo bubblewrap 0.6.1", "too old"),
        ('case "$1" in --version) echo bubblewrap 0.8.0;; *) echo "bwrap: No permissions" >&2; exit 1;; esac',
         "No permissions"),
    ],
)  # fmt: skip
def test_a_sandbox_that_cannot_start_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, said: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path) if script is None else broken(tmp_path, script))
    usable_bubblewrap.cache_clear()
    try:
        with pytest.raises(AutoscorerError) as caught:
            usable_bubblewrap()
    finally:
        usable_bubblewrap.cache_clear()
    assert caught.value.code == "RESOURCE_UNAVAILABLE"
    assert said in caught.value.message
    assert "--isolation trusted" in caught.value.details["example"]
    assert "bubblewrap" in caught.value.details["example"]


def test_a_python_without_the_plain_names_gets_them(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").touch()
    found = find_interpreter(tmp_path)
    assert set(found.aliases) == {"python"}
    assert found.search_path("/alias").split(":")[:2] == [str(tmp_path / "bin"), "/alias"]


def test_of_a_prefix_only_the_interpreters_folders_are_shown(tmp_path: Path) -> None:
    for name in ("bin", "lib", ".ssh", "thesis"):
        (tmp_path / name).mkdir()
    assert {path.name for path in find_interpreter(tmp_path).trees} == {"bin", "lib"}
