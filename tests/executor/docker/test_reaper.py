"""What a killed run left goes, at whatever step it was killed; what is alive or not ours stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autoscorer.executor.base import Reaped
from autoscorer.executor.docker.planning import LABEL_FOLDER, LABEL_NAME, LABEL_OWNER
from autoscorer.executor.docker.reaper import Journal, Trace
from autoscorer.executor.docker_executor import DockerExecutor
from autoscorer.executor.ownership import Owner, process_is_alive
from tests.executor.attempts import eventually
from tests.executor.docker.containers import (
    BUSYBOX,
    assert_nothing_left,
    container_plan,
    containers_of,
    docker,
    loops_below,
    mounts_below,
    run_container,
    settings,
    volumes_of,
)
from tests.workspaces import ROOT

NAME = "autoscorer-" + "ab" * 16
STEPS = ("prepare", "stage_in", "launch", "wait", "collect", "clean_up")
# Runs one attempt and kills itself before or after one of its steps.
KILLED = """
import os, signal, sys
from pathlib import Path
from autoscorer.executor.docker_executor import DockerExecutor
from tests.executor.docker.containers import BUSYBOX, container_plan, settings

root, step, moment, transport = Path(sys.argv[1]), *sys.argv[2:]

def die(): os.kill(os.getpid(), signal.SIGKILL)

def around(method):
    def called(*args, **kwargs):
        if moment == "before": die()
        found = method(*args, **kwargs)
        die()
        return found
    return called

def collect(*_):
    if step == "collect": die()

if step != "collect":
    setattr(DockerExecutor, step, around(getattr(DockerExecutor, step)))
program = "exec tail -f /dev/null" if (step, moment) == ("wait", "before") else "echo x > output/x"
plan = container_plan(root, program)
used = settings(root, docker_transport=transport, docker_helper_image=BUSYBOX)
DockerExecutor(used).run(plan, stop=lambda: None, on_event=lambda *_: None, collect=collect)
"""


def dead_owner() -> Owner:
    return replace(Owner.this_process(), pid=2**22 - 1, started_ticks=1)


@pytest.fixture
def foreign() -> Iterator[list[str]]:
    """Names of containers that a test starts itself."""
    names: list[str] = []
    yield names
    for name in names:
        docker("rm", "-f", name, check=False)


def start(name: str, labels: dict[str, str], names: list[str]) -> None:
    names.append(name)
    options = [option for key, value in labels.items() for option in ("--label", f"{key}={value}")]
    docker("create", "--name", name, *options, BUSYBOX, "true")


def exists(name: str) -> bool:
    return docker("ps", "-aq", "--filter", f"name=^{name}$") != ""


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("transport", ["bind", "stream"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_run_killed_at_any_step_leaves_nothing_after_the_next(
    tmp_path: Path, step: str, moment: str, transport: str
) -> None:
    killed = kill_at(tmp_path, step, moment, transport)
    assert killed == -signal.SIGKILL
    if (step, moment) == ("wait", "before"):  # the control: without the reaper all of it stays
        assert containers_of(tmp_path)
        assert bool(mounts_below(tmp_path)) == (os.geteuid() == 0 and transport == "bind")
        assert bool(volumes_of(tmp_path)) == (transport == "stream")
    run_next(tmp_path / "other", tmp_path / "data")
    if any(Journal(tmp_path / "data" / "attempts").traces()):
        # The engine was at it already, for another test's reaper: it stays written down for the run after.
        run_next(tmp_path / "another", tmp_path / "data")
    assert_nothing_left(tmp_path)
    assert step in ("prepare", "clean_up") or not (tmp_path / ".attempts" / "1").exists()


def run_next(root: Path, data_dir: Path) -> None:
    root.mkdir()
    executor = DockerExecutor(replace(settings(root), data_dir=data_dir))
    run_container(container_plan(root, "true"), executor=executor)


def kill_at(root: Path, step: str, moment: str, transport: str = "bind") -> int:
    command = [sys.executable, "-c", KILLED, str(root), step, moment, transport]
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    return subprocess.run(command, env=env, cwd=ROOT, check=False, timeout=60).returncode


@pytest.mark.docker
@pytest.mark.slow
def test_what_was_removed_is_told(tmp_path: Path) -> None:
    kill_at(tmp_path, "wait", "before")
    removed = DockerExecutor(settings(tmp_path)).reap(process_is_alive)
    assert {"container", "folder"} <= {reaped.kind for reaped in removed}
    again = DockerExecutor(settings(tmp_path)).reap(process_is_alive)  # perhaps what other tests left
    assert not containers_in(removed) & containers_in(again)


def containers_in(removed: Iterable[Reaped]) -> set[str]:
    return {reaped.name for reaped in removed if reaped.kind == "container"}


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("transport", ["bind", "stream"])
def test_without_its_journal_a_container_is_found_by_its_labels(tmp_path: Path, transport: str) -> None:
    kill_at(tmp_path, "wait", "before", transport)
    for path in (tmp_path / "data" / "attempts").iterdir():
        path.unlink()
    removed = DockerExecutor(settings(tmp_path)).reap(process_is_alive)
    assert {"container", "folder"} <= {reaped.kind for reaped in removed}
    assert_nothing_left(tmp_path)
    assert eventually(lambda: loops_below(tmp_path) == [])


@pytest.mark.docker
@pytest.mark.slow
def test_a_former_output_that_was_moved_aside_is_kept(tmp_path: Path) -> None:
    kill_at(tmp_path, "wait", "before")
    former = tmp_path / ".attempts" / "1" / "previous_output"
    former.mkdir()
    (former / "pred.csv").write_text("the only copy")
    DockerExecutor(settings(tmp_path)).reap(process_is_alive)
    assert (former / "pred.csv").read_text() == "the only copy"
    assert mounts_below(tmp_path) == []


@pytest.mark.docker
@pytest.mark.slow
def test_the_container_of_a_living_owner_stays(tmp_path: Path, foreign: list[str]) -> None:
    labels = {
        LABEL_NAME: NAME,
        LABEL_OWNER: str(Owner.this_process()),
        LABEL_FOLDER: str(tmp_path / ".attempts" / "1"),
    }
    start(NAME, labels, foreign)
    assert DockerExecutor(settings(tmp_path)).reap(process_is_alive) == ()
    assert exists(NAME)
    everybody_dead = DockerExecutor(settings(tmp_path)).reap(
        lambda found: found != Owner.this_process() and process_is_alive(found)
    )
    assert Reaped(kind="container", name=NAME) in everybody_dead


@pytest.mark.docker
@pytest.mark.slow
def test_a_container_that_only_looks_like_ours_stays(tmp_path: Path, foreign: list[str]) -> None:
    owner = dead_owner()
    dead, folder = str(owner), tmp_path / "precious"
    folder.mkdir()
    # An image can carry our labels, and so can another program; neither knows its container's name.
    start("autoscorer-test-lookalike", {LABEL_NAME: NAME, LABEL_OWNER: dead, LABEL_FOLDER: "/"}, foreign)
    start("autoscorer-test-nameless", {LABEL_OWNER: dead, LABEL_FOLDER: str(folder)}, foreign)
    start("autoscorer-test-unowned", {LABEL_NAME: "autoscorer-test-unowned"}, foreign)
    assert DockerExecutor(settings(tmp_path)).reap(lambda found: found != owner) == ()
    assert all(exists(name) for name in foreign)
    assert folder.exists()


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("place", ["precious", "precious/1", ".attempts", ".attempts/x"])
def test_a_folder_that_is_no_attempts_is_never_touched(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True)
    (folder / "kept").touch()
    journal = Journal(tmp_path / "data" / "attempts")
    host, owner = settings(tmp_path).docker_host, dead_owner()
    journal.write(Trace(name=NAME, owner=owner, folder=folder, engine=host))
    assert DockerExecutor(settings(tmp_path)).reap(lambda found: found != owner) == ()
    assert (folder / "kept").exists()


@pytest.mark.docker
@pytest.mark.slow
def test_what_was_written_down_for_another_engine_is_left_to_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "data" / "attempts")
    folder = tmp_path / ".attempts" / "1"
    folder.mkdir(parents=True)
    journal.write(Trace(name=NAME, owner=dead_owner(), folder=folder, engine="tcp://elsewhere:2376"))
    assert DockerExecutor(settings(tmp_path)).reap(process_is_alive) == ()
    assert folder.exists()
    assert len(list(journal.traces())) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"owner": "x/y/z", "folder": "/", "engine": "e", "over": true}', b"\xff", b"null"],
)
def test_a_broken_entry_of_the_journal_is_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"{NAME}.json").write_bytes(content)
    (tmp_path / "autoscorer-.json").write_text(
        json.dumps({"owner": "a/1/2", "folder": "/", "engine": "e", "over": True})
    )
    assert list(Journal(tmp_path).traces()) == []


def test_a_journal_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    journal = Journal(tmp_path / "file" / "attempts")
    journal.write(Trace(name=NAME, owner=dead_owner(), folder=tmp_path, engine="e"))
    journal.cross_out(NAME)
    assert list(journal.traces()) == []


def test_a_process_is_alive_until_it_ends_and_its_number_alone_does_not_make_it_so() -> None:
    this = Owner.this_process()
    assert process_is_alive(this)
    assert not process_is_alive(replace(this, started_ticks=this.started_ticks + 1))
    with subprocess.Popen(["sleep", "60"]) as child:
        theirs = replace(this, pid=child.pid, started_ticks=started_ticks(child.pid))
        assert process_is_alive(theirs)
        child.kill()
    assert not process_is_alive(theirs)


def test_after_a_restart_of_the_machine_nothing_of_before_is_alive() -> None:
    this = Owner.this_process()
    machine, _, rest = this.space.partition(":")
    assert not process_is_alive(replace(this, space=f"{machine}:another-boot:{rest.rpartition(':')[2]}"))


@pytest.mark.parametrize("part", [0, 2])
def test_what_cannot_be_seen_from_here_counts_as_alive(part: int) -> None:
    this = Owner.this_process()
    parts = this.space.split(":")
    parts[part] = "other"
    assert process_is_alive(replace(this, space=":".join(parts), pid=2**22 - 1, started_ticks=1))


def test_an_owner_reads_back_as_it_was_written() -> None:
    this = Owner.this_process()
    assert Owner.parse(str(this)) == this
    assert [Owner.parse(text) for text in ("", "a/b/c", "a/1", "a/x/2/3", "None")] == [None] * 5


def started_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
