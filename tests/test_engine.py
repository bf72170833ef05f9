"""The test bed's engine is started over what a killed one left, and stopped by the last who used it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.attacks.leftovers import mounts_below
from tests.engine import Engine, Missing, process_name, program


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="autoscorer-") as name:  # short enough for a socket's name
        yield Path(name)
        for target in mounts_below(Path(name)):  # the engine that had to fail leaves its data folder mounted
            subprocess.run(["umount", "-l", target], check=True)


@pytest.fixture
def engine(folder: Path) -> Iterator[Engine]:
    options = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
    alone = ("--bridge=none", "--iptables=false", "--ip6tables=false")
    engine = Engine(
        f"unix://{folder}/d.sock",
        folder / "log",
        state=folder / "state",
        claims=((folder / "pid", "dockerd"), (folder / "exec/containerd/containerd.pid", "containerd")),
        arguments=(*(f"--{option}={folder / name}" for option, name in options.items()), *alone),
    )
    yield engine
    engine.stop()


@pytest.mark.docker
@pytest.mark.slow
def test_an_engine_that_was_started_for_a_while_goes_with_the_last_who_uses_it(engine: Engine) -> None:
    with engine.used():
        engine.start(for_a_while=True)
        with engine.used():
            assert engine.is_up()
        assert engine.is_up()
    assert not engine.is_up()


@pytest.mark.docker
@pytest.mark.slow
def test_an_engine_that_was_there_before_stays(engine: Engine) -> None:
    engine.start(for_a_while=False)
    with engine.used():
        engine.start(for_a_while=True)
    assert engine.is_up()
    assert engine.stop()
    assert not engine.is_up()


@pytest.mark.docker
@pytest.mark.slow
def test_what_a_killed_engine_left_does_not_hold_up_a_new_one(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "pid").write_text(str(os.getpid()))  # its number is somebody else's now
    (folder / "d.sock").touch()
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "forget_the_dead", lambda _: None)
        patched.setattr("tests.engine.TRIES", ([],))
        with pytest.raises(Missing):  # control
            engine.start(for_a_while=True)
    engine.start(for_a_while=True)
    assert engine.is_up()


def test_only_the_number_of_a_living_engine_is_kept(folder: Path) -> None:
    with ExitStack() as running:
        # What counts is the name of the process: a copy of `sleep` does for an engine.
        copy = folder / "dockerd"
        copy.write_bytes(Path(str(program("sleep"))).read_bytes())
        copy.chmod(0o755)
        living = running.enter_context(subprocess.Popen([copy, "60"]))
        running.callback(living.kill)
        while process_name(str(living.pid)) != "dockerd":
            assert living.poll() is None
        claims = {"living": str(living.pid), "others": str(os.getpid()), "broken": "x", "gone": "4194305"}
        for name, claim in claims.items():
            (folder / name).write_text(claim)
        paths = tuple((folder / name, "dockerd") for name in (*claims, "absent"))
        Engine("unix:///nowhere", folder / "log", claims=paths).forget_the_dead()
    assert [name for name in claims if (folder / name).exists()] == ["living"]


def test_an_engine_elsewhere_cannot_be_the_test_beds(folder: Path) -> None:
    with pytest.raises(Missing, match="DOCKER_HOST"):
        Engine("tcp://127.0.0.1:2375", folder / "log").is_up()
