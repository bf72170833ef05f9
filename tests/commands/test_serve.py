"""`autoscorer serve` as a process of its own: what it says, how it ends, and what it does after kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from autoscorer.store.records import Job
from autoscorer.store.transitions import JobState
from tests.api.serving import serve_site
from tests.cli import call, command, environment
from tests.commands.test_commands import run_on_a_terminal_until
from tests.worker.sites import Site, check_sound, ended, leftovers, result_json, state_of, until

PROGRAM = "import time, shutil; time.sleep({}); shutil.copy('input/answer.csv', 'output/pred.csv')"


@dataclass
class Served:
    """One process of `serve`; ``told`` is the line it printed when it was ready."""

    process: subprocess.Popen[str]
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return str(self.told["url"])

    def end(self, number: int = signal.SIGTERM) -> str:
        """What it printed after that, once it has ended."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=60)[0]


def env_of(site: Site, **changes: str) -> dict[str, str]:
    return {
        "WORKSPACE_ROOT": str(site.root / "workspaces"),
        "DATA_DIR": str(site.settings.data_dir),
        "LOG_DIR": str(site.root / "logs"),
        "HOME": str(site.root),
        "MIN_FREE_DISK": "0",
        **changes,
    }


@contextmanager
def served(env: Mapping[str, str], *options: str) -> Iterator[Served]:
    process = subprocess.Popen(
        command("serve", "--port", "0", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(**env),
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("{"), line + process.communicate(timeout=60)[0]
        yield Served(process, json.loads(line) if line.strip() != "{" else {})
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


def ready(url: str) -> int:
    with httpx.Client(trust_env=False) as client:
        return client.get(f"{url}/readyz").status_code


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = serve_site(tmp_path)
    yield made
    made.close()


@pytest.mark.slow
def test_in_a_pipe_it_tells_in_one_line_where_it_is_and_ends_in_silence(site: Site) -> None:
    with served(env_of(site, SERVICE_BACKENDS="docker,local")) as service:
        token = Path(service.told["token_path"]).read_text().strip()
        assert ready(service.url) == 200
        assert service.told["workspace_root"] == str(site.root / "workspaces")
        assert service.told["slots"] == 2
        assert service.told["backends"].keys() == {"docker", "local"}
        no_engine = service.told["backends"]["docker"] is not None
        assert [warning["code"] for warning in service.told["warnings"]] == ["NO_BACKEND"] * no_engine
        assert token not in json.dumps(service.told)
        assert call("status", "none", env=env_of(site, SERVICE_URL=service.url)).error["code"] == "NOT_FOUND"
        children = psutil.Process(service.process.pid).children(recursive=True)
        assert service.end() == ""
        assert service.process.returncode == 0
        assert [child for child in children if child.is_running()] == []
    log = (site.root / "logs" / "autoscorer.log").read_text()
    assert '"event":"stopped"' in log
    assert token not in log


@pytest.mark.slow
@pytest.mark.parametrize("offered", ["docker", "docker,local", "local", "[]"])
def test_it_warns_when_what_runs_the_jobs_that_name_no_backend_cannot(site: Site, offered: str) -> None:
    """Those are a participant's. Control: above, where Docker works, there is nothing to warn of."""
    env = env_of(site, DOCKER_HOST="unix:///nowhere.sock", SERVICE_BACKENDS=offered)
    with served(env) as service:
        (warning,) = service.told["warnings"]
        assert warning["code"] == "NO_BACKEND"
        assert "docker: " in warning["message"]
        assert service.told["backends"]["docker"]
        local_works = service.told["backends"].get("local", "not offered") is None
        assert ("those that name local can run" in warning["message"]) is local_works
        service.end()


@pytest.mark.slow
def test_on_a_terminal_it_shows_how_to_use_it_and_no_secret(site: Site) -> None:
    exit_code, screen = run_on_a_terminal_until(
        command("serve", "--port", "0"), env_of(site), shown="--wait", number=signal.SIGINT
    )
    token = (site.settings.data_dir / "operator.token").read_text().strip()
    assert exit_code == 0
    for shown in ("http://127.0.0.1:", "operator.token", "curl -X POST", "autoscorer submit", "stopped"):
        assert shown in screen
    assert token not in screen
    # To be copied: on a line of its own, with no frame around it and no break in it.
    assert [line for line in screen.splitlines() if '/pipeline -H "Authorization: Bearer $TOKEN" \\' in line]
    assert f"TOKEN=$(cat {site.settings.data_dir / 'operator.token'})" in screen
    assert not [line for line in screen.splitlines() if "curl" in line and "│" in line]


@pytest.mark.slow
def test_an_address_that_others_reach_is_warned_of(site: Site) -> None:
    with served(env_of(site), "--host", "0.0.0.0") as service:
        [warning] = (told for told in service.told["warnings"] if told["code"] != "NO_BACKEND")
        assert warning["code"] == "NO_TLS"
        assert "0.0.0.0" in warning["message"]


@pytest.mark.slow
def test_another_on_the_same_data_or_port_is_an_error_that_says_what_to_do(site: Site) -> None:
    with served(env_of(site)) as service:
        again = call("serve", "--port", "0", env=env_of(site))
        assert (again.exit_code, again.error["code"]) == (3, "CONFIG_VALIDATION_ERROR")
        assert str(service.process.pid) in again.error["message"]
        port = service.url.rpartition(":")[2]
        other = env_of(site, DATA_DIR=str(site.root / "other"))
        assert "--port" in call("serve", "--port", port, env=other).error["message"]


def program_workspace(site: Site, *, sleep_s: float, backend: str) -> Path:
    cmd = ["python", "-c", PROGRAM.format(sleep_s)]
    image = {"local": "none", "docker": "autoscorer-test/python:3"}[backend]
    folder = site.workspace(container={"image": image, "cmd": cmd}, time_limit=60)
    (folder / "input" / "answer.csv").write_text("id,label\n1,cat\n2,dog\n")
    return folder


@pytest.mark.long
@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("local", marks=pytest.mark.sandbox),
        pytest.param("docker", marks=pytest.mark.docker),
    ],
)
@pytest.mark.fault("serve killed in the middle of ten jobs")
def test_killed_in_the_middle_of_ten_jobs_and_started_again_all_ten_end_right(
    backend: str, site: Site
) -> None:
    site.settings.data_dir.mkdir()
    store = site.open_store()
    folders = [program_workspace(site, sleep_s=1.0, backend=backend) for _ in range(10)]
    jobs: list[Job] = []
    with served(env_of(site, WORKER_SLOTS="3")) as service:
        jobs += [site.submit(store, folder, backend=backend) for folder in folders]
        until(lambda: sum(ended(store, job) for job in jobs) >= 3, what="some have ended")
        until(
            lambda: sum(state_of(store, job).state is JobState.RUNNING for job in jobs) >= 2,
            what="some are running",
        )
        children = psutil.Process(service.process.pid).children(recursive=True)
        os.kill(service.process.pid, signal.SIGKILL)
        service.process.wait(60)
    assert sum(ended(store, job) for job in jobs) < 10, "control: it was in the middle"
    with served(env_of(site, WORKER_SLOTS="3")) as service:
        until(lambda: all(ended(store, job) for job in jobs), within_s=150, what="all ten end")
        until(lambda: not any(child.is_running() for child in children), what="nothing of the first runs")
        until(lambda: not leftovers(site), within_s=90, what="what the first left is removed")
        for job, folder in zip(jobs, folders, strict=True):
            check_sound(site, store, job, folder)
            assert result_json(folder)["summary"]["score"] == 1.0
        assert any(state_of(store, job).attempt > 1 for job in jobs)
        service.end()
