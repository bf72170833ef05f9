"""Each code that can be reached here is provoked by a real situation, and blames whom the table blames."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import autoscorer
from autoscorer.claims import claim
from autoscorer.scorers.registry import load_builtin, registry
from autoscorer.utils.errors import AutoscorerError, code_table
from tests.cli import call, command, environment
from tests.executor.docker.containers import BUSYBOX
from tests.executor.docker.registries import free_port
from tests.executor.docker.registries import registry as image_registry
from tests.scorers.library.sources import scorer_text
from tests.workspaces import MakeWorkspace

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

# It takes an engine that is killed: tests/attacks/test_engine_faults.py has one.
ELSEWHERE = {("CONTAINER_WAIT_FAILED", "")}
# A full disk and a worker that stops: tests/worker/test_worker.py.
ELSEWHERE |= {("RESOURCE_UNAVAILABLE", "disk"), ("WORKER_STOPPED", "")}
# What the store and access say: tests/contracts and tests/access.
ELSEWHERE |= {(row.code, row.cause) for row in code_table() if row.stage == "api"}
ELSEWHERE |= {("ATTEMPTS_EXHAUSTED", ""), ("WORKER_LOST", ""), ("STORE_UNAVAILABLE", "")}
# A database that a process cannot begin with: tests/store/test_opening.py.
ELSEWHERE |= {("STORE_UNAVAILABLE", "opening")}
# What takes a service, or a worker elsewhere: tests/intake/test_copies.py, tests/worker/test_worker.py.
ELSEWHERE |= {("LIMIT_EXCEEDED", "submissions"), ("SCORER_NOT_FOUND", "not_on_this_machine")}
ON_DOCKER = {"IMAGE_NOT_PRESENT", "IMAGE_INVALID", "IMAGE_PULL_FAILED", "CONTAINER_CREATE_FAILED"}

Situation = Callable[[MakeWorkspace, Path], dict[str, Any]]
SITUATIONS: dict[tuple[str, str], Situation] = {}
GOOD = "open('output/pred.csv', 'w').write('id,label\\n1,cat\\n2,cat\\n')"
PERFECT = "id,label\n1,cat\n2,dog\n"


def provokes(code: str, cause: str = "") -> Callable[[Situation], Situation]:
    def note(situation: Situation) -> Situation:
        SITUATIONS[code, cause] = situation
        return situation

    return note


def pipeline(workspace: Path, **env: str) -> dict[str, Any]:
    return call("pipeline", workspace, "--backend", "local", env=env).error


@provokes("CONFIG_VALIDATION_ERROR", "configuration")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return pipeline(make(program=GOOD), DEFAULT_MEMORY="lots")


@provokes("CONFIG_VALIDATION_ERROR", "job_spec")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return pipeline(make(program=GOOD, spec={"time_limit": -1}))


@provokes("CONFIG_VALIDATION_ERROR", "workspace")
def _(_make: MakeWorkspace, tmp: Path) -> dict[str, Any]:
    return pipeline(tmp / "nowhere")


@provokes("LIMIT_EXCEEDED")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return pipeline(make(program=GOOD, spec={"resources": {"memory": "900Gi"}}))


@provokes("WORKSPACE_BUSY")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    workspace = make(program=GOOD)
    with claim(autoscorer_workspace(workspace)):
        return pipeline(workspace)


@provokes("RESOURCE_UNAVAILABLE")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return pipeline(make(program=GOOD, spec={"resources": {"gpus": 1}}))


@provokes("EXEC_ERROR")
def _(make: MakeWorkspace, tmp: Path) -> dict[str, Any]:
    # The sandbox starts for its trial run and then fails: an administrator's wrapper that breaks it.
    real = subprocess.run(["which", "bwrap"], capture_output=True, text=True, check=True).stdout.strip()
    wrapper = tmp / "bin" / "bwrap"
    wrapper.parent.mkdir()
    script = '[ "$1" = --args ] && { echo broken >&2; exit 1; }'
    wrapper.write_text(f'#!/bin/sh\n{script}\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    return pipeline(make(program=GOOD), PATH=f"{wrapper.parent}:{environment()['PATH']}")


def on_docker(make: MakeWorkspace, image: str = BUSYBOX, /, **env: str) -> dict[str, Any]:
    spec = {"container": {"image": image, "cmd": ["true"]}}
    return call("run", make(spec=spec), "--backend", "docker", env=env).error


@provokes("RESOURCE_UNAVAILABLE", "engine")
def _(make: MakeWorkspace, tmp: Path) -> dict[str, Any]:
    return on_docker(make, DOCKER_HOST=f"unix://{tmp / 'none.sock'}")


@provokes("RESOURCE_UNAVAILABLE", "nodes")
def _(make: MakeWorkspace, tmp: Path) -> dict[str, Any]:
    nodes = f'[{{"name": "a", "host": "unix://{tmp / "none.sock"}"}}]'
    return on_docker(make, NODES=nodes, NODE_WAIT="0")


@provokes("IMAGE_NOT_PRESENT")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return on_docker(make, "autoscorer-test/absent:1", IMAGE_PULL_POLICY="never")


@provokes("IMAGE_INVALID")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    spec = {"container": {"image": "autoscorer-test/absent:1", "cmd": ["true"]}}
    workspace = make(spec=spec)
    (workspace / "image.tar").write_bytes(b"an upload that broke off")
    return call("run", workspace, "--backend", "docker").error


@provokes("IMAGE_PULL_FAILED", "denied")
def _(make: MakeWorkspace, tmp: Path) -> dict[str, Any]:
    with image_registry(tmp) as host:
        return on_docker(make, f"{host}/team/absent:1")


@provokes("IMAGE_PULL_FAILED", "network")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return on_docker(make, f"127.0.0.1:{free_port()}/team/image:1")


@provokes("CONTAINER_CREATE_FAILED")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return on_docker(make, ALLOW_WEAKER_SECURITY="true", SECURITY_OPTS="systempaths=unconfined")


@provokes("CONTAINER_EXIT_NONZERO")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return pipeline(make(program="raise SystemExit(3)"))


@provokes("TIME_LIMIT")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return pipeline(make(program="while True: pass", spec={"time_limit": 1}))


@provokes("MEMORY_LIMIT")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    program = "held = []\nwhile True: held.append(bytearray(b'x' * 2**20))"
    return pipeline(make(program=program, spec={"resources": {"memory": "64Mi"}}))


@provokes("OUTPUT_LIMIT")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return pipeline(make(program="open('output/big', 'wb').write(bytes(2**20))"), MAX_OUTPUT_BYTES="64Ki")


@provokes("OUTPUT_INVALID")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return pipeline(make(program="import os; os.symlink('/etc/passwd', 'output/pred.csv')"))


@provokes("CANCELLED")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    workspace = make(program="import time; print('up', flush=True); time.sleep(60)")
    arguments = command("run", workspace, "--backend", "local")
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment())
    log = workspace / "logs" / "container.log"
    while process.poll() is None and not (log.exists() and log.read_text()):
        pass
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=30)
    error: dict[str, Any] = json.loads(stdout)["error"]
    return error


@provokes("INTERNAL_ERROR")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    # A result that cannot be written: its name is taken by an immutable file.
    workspace = make(predictions=PERFECT)
    taken = workspace / "output" / "result.json"
    taken.touch()
    if subprocess.run(["chattr", "+i", taken], capture_output=True, check=False).returncode:
        pytest.skip("making a file immutable needs root and a file system that can")
    try:
        return call("score", workspace).error
    finally:
        subprocess.run(["chattr", "-i", taken], check=True)


@provokes("MISSING_FILE", "prediction")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return pipeline(make(program="pass"))


@provokes("MISSING_FILE", "reference")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return call("score", make(truth=None, predictions=PERFECT)).error


@provokes("PARSE_ERROR", "prediction")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return call("score", make(predictions='id,label\n1,"cat\n')).error


@provokes("PARSE_ERROR", "reference")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return call("score", make(truth="id,label\n1,c\0at\n", predictions=PERFECT)).error


@provokes("BAD_FORMAT", "prediction")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return call("score", make(predictions="id,label\n1,cat\n1,dog\n")).error


@provokes("BAD_FORMAT", "reference")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return call("score", make(truth="id,label\n", predictions=PERFECT)).error


@provokes("SCORER_NOT_FOUND")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return call("score", make(predictions=PERFECT), "--scorer", "classification_f3").error


def loaded(folder: Path, text: str, *, mode: int = 0o644) -> dict[str, Any]:
    """The error of loading a file with this text."""
    path = folder / "mine.py"
    path.write_text(text)
    path.chmod(mode)
    return call("scorers", "load", "--file-path", path).error


@provokes("SCORER_NOT_FOUND", "unloadable")
def _(_make: MakeWorkspace, tmp: Path) -> dict[str, Any]:
    error = loaded(tmp, "import autoscorer\n\ndef broken(:\n")
    assert (error["details"]["file"], error["details"]["line"]) == ("mine.py", 3)
    return error


@provokes("SCORER_NOT_FOUND", "refused")
def _(_make: MakeWorkspace, tmp: Path) -> dict[str, Any]:
    return loaded(tmp, scorer_text(), mode=0o666)


@provokes("SCORER_NOT_FOUND", "name_taken")
def _(_make: MakeWorkspace, tmp: Path) -> dict[str, Any]:
    return loaded(tmp, scorer_text("classification_f1"))


def scored_by(act: Callable[[], Any], workspace: Path) -> dict[str, Any]:
    """The error of a scorer of the organiser's own, registered for this call alone."""

    class Own(autoscorer.BaseScorer):
        name = "organisers_own"
        version = "1"

        def score(self, workspace: Path, params: dict[str, Any]) -> autoscorer.Result:
            returned: autoscorer.Result = act()
            return returned

    load_builtin()  # first: what is loaded while the patch holds would go with it
    with patch.dict(registry._scorers):
        registry.register("organisers_own")(Own)
        with pytest.raises(AutoscorerError) as caught:
            autoscorer.score(workspace, scorer="organisers_own")
    stored: dict[str, Any] = json.loads((workspace / "output" / "result.json").read_bytes())
    assert stored["error"]["code"] == caught.value.code
    error: dict[str, Any] = stored["error"]
    return error


@provokes("SCORE_ERROR")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    empty: dict[str, Any] = {}
    return scored_by(lambda: empty["label"], make(predictions=PERFECT))


@provokes("SCORER_MEMORY")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return scored_by(lambda: np.ones(2**45), make(predictions=PERFECT))


@provokes("SCORER_NO_RESULT")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return scored_by(lambda: None, make(predictions=PERFECT))


@provokes("SCORER_BAD_RESULT")
def _(make: MakeWorkspace, _tmp: Path) -> dict[str, Any]:
    return scored_by(lambda: {"score": 1.0}, make(predictions=PERFECT))


def scored_apart(make: MakeWorkspace, tmp: Path, line: str) -> dict[str, Any]:
    """The error of a scorer that was loaded from a file and begins its work with this line."""
    env = {"DATA_DIR": str(tmp / "data"), "SCORER_TIME_LIMIT": "2"}
    path = tmp / "mine.py"
    path.write_text(scorer_text().replace("        return Result", f"        {line}\n        return Result"))
    assert call("scorers", "load", "--file-path", path, env=env).exit_code == 0
    return call("score", make(predictions=PERFECT), "--scorer", "mine", env=env).error


@provokes("SCORER_TIMEOUT")
def _(make: MakeWorkspace, tmp: Path) -> dict[str, Any]:
    return scored_apart(make, tmp, "while True: pass")


@provokes("SCORER_CRASH")
def _(make: MakeWorkspace, tmp: Path) -> dict[str, Any]:
    return scored_apart(make, tmp, "import os; os.abort()")


def autoscorer_workspace(path: Path) -> Any:
    from autoscorer.workspace import Workspace

    return Workspace.open(path)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(key, id=" ".join(key), marks=[pytest.mark.docker] if key[0] in ON_DOCKER else [])
        for key in sorted(SITUATIONS)
    ],
)
def test_a_real_situation_gives_the_code_and_blames_whom_the_table_blames(
    key: tuple[str, str], make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    error = SITUATIONS[key](make_workspace, tmp_path)
    (row,) = [row for row in code_table() if (row.code, row.cause) == key]
    details = error["details"]
    assert (error["code"], details.get("cause", "")) == key
    assert details["blame"] == row.blame
    assert details["hint"] == {"en": row.hint_en, "zh": row.hint_zh}
    assert str(tmp_path) not in error["message"].replace(str(tmp_path / "nowhere"), "")


def test_no_code_is_left_out() -> None:
    assert set(SITUATIONS) | ELSEWHERE == {(row.code, row.cause) for row in code_table()}
    assert not set(SITUATIONS) & ELSEWHERE
