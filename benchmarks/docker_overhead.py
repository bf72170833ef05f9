"""What isolation costs: our executor against docker-py's bare calls, the command against `docker run`."""

from __future__ import annotations

import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoscorer.executor.base import Limits
from autoscorer.executor.docker.client import connect
from autoscorer.executor.docker_executor import DockerExecutor
from autoscorer.utils.config import Config, Settings
from benchmarks.attempts import IMAGE, attempt_of_true
from benchmarks.harness import CACHE, Comparison, Row, Run, compare

PAIRS = 15
WORKSPACE = CACHE / "docker_overhead"
LIMITS = Limits(
    cpu_cores=2,
    memory_bytes=2**28,
    gpus=0,
    shm_bytes=2**20,
    time_limit_s=30,
    output_bytes=2**30,
)


def rows() -> Iterator[Row]:
    """Nothing when no engine answers or it lacks the test bed's image; `scripts/testbed` brings both."""
    settings = replace(Config().settings, data_dir=WORKSPACE / "data")
    if not _has_image(settings):
        return
    with connect(settings) as engine:
        note = f"Docker {engine.facts().version}"
    _make_workspace()
    yield Row(
        work="the executor in-process: `true` in a container, all walls up, output taken",
        against="docker-py's bare create (network none), start, wait, remove",
        comparison=in_process(settings),
        note=note,
        aim=None,
        most_s_more=0.1,
    )
    command = [
        str(Path(sys.executable).with_name("autoscorer")),
        "run",
        str(WORKSPACE),
        "--backend",
        "docker",
    ]
    docker = [shutil.which("docker") or "docker", "run", "--rm", "--network", "none", IMAGE, "true"]
    yield Row(
        work="`autoscorer run` of `true`",
        against="`docker run --rm` of the same",
        comparison=compare([*command, "--json"], docker, pairs=PAIRS),
        note=note,
        aim=None,
        most_s_more=0.45,
    )


def in_process(settings: Settings) -> Comparison:
    """Interleaved in this process; the first pair warms both and is not counted."""
    import docker

    client = docker.APIClient(base_url=settings.docker_host)
    executor = DockerExecutor(settings)
    try:
        pairs = [(_timed(lambda: _run(executor)), _timed(lambda: _bare(client))) for _ in range(PAIRS + 1)][
            1:
        ]
    finally:
        client.close()
    return Comparison(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))


def _run(executor: DockerExecutor) -> None:
    folder = Path(tempfile.mkdtemp(dir=WORKSPACE / ".attempts"))
    outcome = executor.run(
        attempt_of_true(WORKSPACE, folder, LIMITS), stop=lambda: None, on_event=lambda *_: None
    )
    assert outcome.exit_code == 0, outcome
    shutil.rmtree(folder)


def _bare(client: Any) -> None:
    options = client.create_host_config(network_mode="none")
    name = client.create_container(IMAGE, ["true"], host_config=options)["Id"]
    client.start(name)
    client.wait(name)
    client.remove_container(name)


def _timed(work: Callable[[], None]) -> Run:
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    return Run(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _has_image(settings: Settings) -> bool:
    import docker

    try:
        client = docker.APIClient(base_url=settings.docker_host)
        client.inspect_image(IMAGE)
    except docker.errors.DockerException:
        return False
    client.close()
    return True


def _make_workspace() -> None:
    for name in ("input", ".attempts", "logs"):
        (WORKSPACE / name).mkdir(parents=True, exist_ok=True)
    spec = {
        "job_id": "bench",
        "task_type": "classification",
        "scorer": "classification_f1",
        "resources": {"memory": "256Mi"},
        "container": {"image": IMAGE, "cmd": ["true"]},
    }
    (WORKSPACE / "meta.json").write_text(json.dumps(spec), encoding="utf-8")
