"""The logs: one JSON object a line, whole, bounded, without secrets, and following no link."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscorer.utils import logger as logger_module
from autoscorer.utils.config import Config, Settings
from autoscorer.utils.errors import AutoscorerError, Blame
from autoscorer.utils.logger import (
    JobLogger,
    bound,
    configure_service_log,
    encode_line,
    log_event,
)

Entry = dict[str, Any]


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    logger = logging.getLogger("autoscorer")
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def settings_for(folder: Path, **environ: str) -> Settings:
    return Config("/nowhere", environ={"LOG_DIR": str(folder), **environ}).settings


def lines_of(*paths: Path) -> list[Entry]:
    return [json.loads(line) for path in paths for line in path.read_bytes().split(b"\n")[:-1]]


def job_lines(workspace: Path) -> list[Entry]:
    return lines_of(workspace / "logs" / "job.jsonl")


def test_a_jobs_life_is_one_object_a_line(tmp_path: Path) -> None:
    job = JobLogger("job-1", tmp_path)
    job.start({"job_id": "job-1", "scorer": "classification_f1"})
    job.execution_start("docker", {"image": "python:3.10-slim"})
    job.execution_completed(duration_seconds=1.5, exit_code=0)
    job.scoring_start("classification_f1")
    job.scoring_completed(duration_seconds=0.25)
    job.warning("GROUND_TRUTH_EXPOSED", "the truth lies in input/")
    job.error("run", "CONTAINER_EXIT_NONZERO", "Exit code 1")
    job.complete(status="failed")
    entries = job_lines(tmp_path)
    assert [(entry["event"], entry["level"]) for entry in entries] == [
        ("job_started", "INFO"),
        ("execution_started", "INFO"),
        ("execution_completed", "INFO"),
        ("scoring_started", "INFO"),
        ("scoring_completed", "INFO"),
        ("job_warning", "WARNING"),
        ("job_error", "ERROR"),
        ("job_completed", "INFO"),
    ]
    assert entries[0]["data"] == {
        "job_id": "job-1",
        "workspace": str(tmp_path),
        "spec": {"job_id": "job-1", "scorer": "classification_f1"},
    }
    assert entries[2]["data"]["duration_seconds"] == 1.5
    assert entries[6]["data"]["stage"] == "execution"
    assert all(entry["data"]["job_id"] == "job-1" for entry in entries)
    assert all(entry["timestamp"].endswith("Z") and "T" in entry["timestamp"] for entry in entries)


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_jq_reads_both_logs(tmp_path: Path) -> None:
    JobLogger("job-1", tmp_path).start({"name": "数据 \x1b[31m \u2028 \udcff"})
    configure_service_log(settings_for(tmp_path))
    log_event("ERROR", "broken", error=ValueError("x"))
    paths = [tmp_path / "logs" / "job.jsonl", tmp_path / "autoscorer.log"]
    shown = subprocess.run(["jq", "-r", ".event", *paths], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["job_started", "broken"]


@dataclass(frozen=True)
class Info:
    """A dataclass among the values."""

    image: str


def test_models_dataclasses_paths_and_odd_numbers_become_json(tmp_path: Path) -> None:
    job = JobLogger("j", tmp_path)
    values = {
        "info": Info("x"),
        "path": Path("/a"),
        "nan": float("nan"),
        "huge": 10**5000,
        "set": {1},
        "raw": b"abc",
    }
    job.record("odd", values)
    assert job_lines(tmp_path)[0]["data"] == {
        "job_id": "j",
        "info": {"image": "x"},
        "path": "/a",
        "nan": "nan",
        "huge": "a huge number",
        "set": [1],
        "raw": "3 bytes",
    }


def test_control_characters_cannot_break_a_line_or_a_terminal(tmp_path: Path) -> None:
    hostile = "a\nb\r\x1b]0;x\x07\x85\u2028\u202e\x9b31m"
    JobLogger("j", tmp_path).error("score", "BAD_FORMAT", hostile)
    text = (tmp_path / "logs" / "job.jsonl").read_bytes().decode()
    assert len(text.splitlines()) == 1
    assert all(letter.isprintable() for letter in text[:-1])
    assert json.loads(text)["data"]["message"] == hostile
    # The control: plain JSON leaves some of them as they are.
    assert len(json.dumps(hostile, ensure_ascii=False).splitlines()) > 1


def test_secrets_are_filtered_by_name_by_form_and_by_value(tmp_path: Path) -> None:
    job = JobLogger("j", tmp_path, secrets=("configured-secret",))
    job.start({"container": {"env": {"HF_TOKEN": "hunter2", "SEED": "7"}}, "url": "redis://:hunter2@host/0"})
    job.warning("W", "said configured-secret and password=hunter2")
    text = (tmp_path / "logs" / "job.jsonl").read_text()
    assert "hunter2" not in text
    assert "configured-secret" not in text
    assert '"SEED":"7"' in text


def test_a_secret_is_masked_before_a_long_text_is_cut(tmp_path: Path) -> None:
    job = JobLogger("j", tmp_path, secrets=("0123456789" * 10,))
    job.warning("W", "x" * 4050 + "0123456789" * 10)
    message = job_lines(tmp_path)[0]["data"]["message"]
    assert "0123" not in message


@pytest.mark.slow
def test_long_texts_deep_values_and_long_lines_are_bounded(tmp_path: Path) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    loop: dict[str, Any] = {}
    loop["again"] = loop
    job = JobLogger("j", tmp_path)
    job.record("big", {"text": "x" * 10**6, "deep": deep, "loop": loop, "many": list(range(10**5))})
    job.record("wide", {str(number): "y" * 4000 for number in range(1000)})
    big, wide = job_lines(tmp_path)
    assert len(big["data"]["text"]) == 4097
    assert len(big["data"]["many"]) == 1000
    assert wide["data"].keys() == {"job_id", "dropped_bytes"}
    assert max(map(len, (tmp_path / "logs" / "job.jsonl").read_bytes().splitlines())) < 256 * 1024


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=8,
)


@given(event=st.text(), data=st.dictionaries(st.text(), ANYTHING, max_size=4))
def test_anything_can_be_logged_and_is_one_line_of_strict_json(event: str, data: dict[str, Any]) -> None:
    line = encode_line(event, data, level="INFO", secrets=())
    assert line.count(b"\n") == 1
    assert len(line.decode().splitlines()) == 1

    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(line, parse_constant=refuse)


def plant_link_to_host_file(workspace: Path, victim: Path) -> None:
    (workspace / "logs").mkdir()
    (workspace / "logs" / "job.jsonl").symlink_to(victim)


def plant_linked_folder(workspace: Path, victim: Path) -> None:
    (workspace / "logs").symlink_to(victim.parent)


def plant_hard_link(workspace: Path, victim: Path) -> None:
    (workspace / "logs").mkdir()
    (workspace / "logs" / "job.jsonl").hardlink_to(victim)


def plant_pipe(workspace: Path, victim: Path) -> None:
    (workspace / "logs").mkdir()
    os.mkfifo(workspace / "logs" / "job.jsonl")


def plant_folder(workspace: Path, victim: Path) -> None:
    (workspace / "logs" / "job.jsonl").mkdir(parents=True)


def plant_file_for_folder(workspace: Path, victim: Path) -> None:
    (workspace / "logs").write_text("")


PLANTS = [
    *(plant_link_to_host_file, plant_linked_folder, plant_hard_link),
    *(plant_pipe, plant_folder, plant_file_for_folder),
]


@pytest.mark.parametrize("plant", PLANTS)
def test_what_is_planted_at_the_log_is_neither_followed_nor_written(tmp_path: Path, plant: Any) -> None:
    workspace, victim = tmp_path / "ws", tmp_path / "host" / "job.jsonl"
    workspace.mkdir()
    victim.parent.mkdir()
    victim.write_text("untouched")
    plant(workspace, victim)
    with pytest.raises(AutoscorerError, match=r"logs/job\.jsonl") as caught:
        JobLogger("j", workspace)
    assert victim.read_text() == "untouched"
    assert caught.value.blame is Blame.ORGANISER
    assert str(tmp_path) not in str(caught.value.to_dict())


@pytest.mark.parametrize("plant", [plant_link_to_host_file, plant_linked_folder, plant_hard_link])
def test_the_control_a_plain_open_would_have_written_there(tmp_path: Path, plant: Any) -> None:
    workspace, victim = tmp_path / "ws", tmp_path / "host" / "job.jsonl"
    workspace.mkdir()
    victim.parent.mkdir()
    victim.write_text("")
    plant(workspace, victim)
    with (workspace / "logs" / "job.jsonl").open("a") as file:
        file.write("written")
    assert victim.read_text() == "written"


def test_a_log_that_is_lost_on_the_way_does_not_fail_the_job(tmp_path: Path) -> None:
    job = JobLogger("j", tmp_path)
    job.start({})
    shutil.rmtree(tmp_path / "logs")
    (tmp_path / "logs").symlink_to(tmp_path)
    job.complete()
    assert job.dropped_lines == 1
    assert not (tmp_path / "job.jsonl").exists()


def test_a_workspace_that_is_not_there_is_named_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(AutoscorerError) as caught:
        JobLogger("j", tmp_path / "none")
    assert str(tmp_path) not in caught.value.message


def test_a_full_log_is_rotated_and_only_so_many_files_are_kept(tmp_path: Path) -> None:
    job = JobLogger("j", tmp_path, max_bytes=1000, backups=2)
    for number in range(50):
        job.record("tick", {"number": number})
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert names == ["job.jsonl", "job.jsonl.1", "job.jsonl.2"]
    paths = [tmp_path / "logs" / name for name in ("job.jsonl.2", "job.jsonl.1", "job.jsonl")]
    assert all(path.stat().st_size <= 1000 for path in paths)
    numbers = [entry["data"]["number"] for entry in lines_of(*paths)]
    assert numbers == list(range(numbers[0], 50))


def test_without_backups_a_full_log_starts_again(tmp_path: Path) -> None:
    job = JobLogger("j", tmp_path, max_bytes=300, backups=0)
    for number in range(20):
        job.record("tick", {"number": number})
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["job.jsonl"]
    assert job_lines(tmp_path)[-1]["data"]["number"] == 19


WRITER = """
import sys
from autoscorer.utils.config import Config
from autoscorer.utils.logger import configure_service_log, log_event
folder, name = sys.argv[1:]
environ = {"LOG_DIR": folder, "LOG_MAX_BYTES": "8Ki", "LOG_BACKUPS": "1000"}
assert configure_service_log(Config("/nowhere", environ=environ).settings) is None
print("ready", flush=True)
sys.stdin.readline()
for number in range(400):
    log_event("INFO", "tick", writer=name, number=number, filling="x" * (number % 300))
"""


def test_two_processes_write_and_rotate_at_once_and_no_line_is_lost_or_torn(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in "ab"
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    paths = sorted(
        tmp_path.iterdir(), key=lambda path: -int(path.suffix.removeprefix(".").replace("log", "0"))
    )
    entries = lines_of(*paths)
    assert len(paths) > 10
    assert max(path.stat().st_size for path in paths) <= 8192
    for name in "ab":
        numbers = [entry["data"]["number"] for entry in entries if entry["data"]["writer"] == name]
        assert numbers == list(range(400))


def test_while_somebody_keeps_the_lock_lines_are_still_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger_module, "_LOCK_PATIENCE_S", 0.01)
    job = JobLogger("j", tmp_path, max_bytes=1)
    folder = os.open(tmp_path / "logs", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        job.start({})
        job.complete()
    finally:
        os.close(folder)
    assert len(job_lines(tmp_path)) == 2
    assert job.dropped_lines == 0


def test_the_service_log_keeps_levels_from_the_configured_one_on(tmp_path: Path) -> None:
    assert configure_service_log(settings_for(tmp_path / "new" / "folder", LOG_LEVEL="WARNING")) is None
    log_event("INFO", "quiet")
    log_event("WARNING", "disk_low", free_bytes=5)
    logging.getLogger("autoscorer.some.module").error("from %s", "a module")
    entries = lines_of(tmp_path / "new" / "folder" / "autoscorer.log")
    assert [(entry["level"], entry["event"]) for entry in entries] == [
        ("WARNING", "disk_low"),
        ("ERROR", "from a module"),
    ]
    assert entries[0]["data"]["free_bytes"] == 5


def fail_with_a_secret() -> ValueError:
    try:
        raise ValueError("cannot reach redis://:hunter2@host, token configured-secret")
    except ValueError as error:
        return error


@pytest.mark.parametrize("wanted", ["true", "false"])
def test_a_stack_trace_stands_in_the_service_log_only_when_asked_for(tmp_path: Path, wanted: str) -> None:
    environ = {"PRINT_STACKTRACE": wanted, "K8S_TOKEN": "configured-secret"}
    configure_service_log(settings_for(tmp_path, **environ))
    log_event("ERROR", "scoring_failed", error=fail_with_a_secret())
    path = tmp_path / "autoscorer.log"
    data = lines_of(path)[0]["data"]
    assert data["error"]["type"] == "ValueError"
    assert ("traceback" in data) is (wanted == "true")
    assert "fail_with_a_secret" in str(data.get("traceback", "fail_with_a_secret"))
    assert "hunter2" not in path.read_text()
    assert "configured-secret" not in path.read_text()


def test_old_files_and_files_beyond_the_number_are_removed_and_others_left(tmp_path: Path) -> None:
    month_ago = time.time() - 31 * 86400
    for name, modified in (
        ("autoscorer.log", month_ago),
        ("autoscorer.log.1", month_ago),
        ("autoscorer.log.2", time.time()),
        ("autoscorer.log.9", time.time()),
        ("autoscorer.log.keep", month_ago),
        ("other.log.1", month_ago),
    ):
        (tmp_path / name).write_text("{}\n")
        os.utime(tmp_path / name, (modified, modified))
    configure_service_log(settings_for(tmp_path, LOG_BACKUPS="5", LOG_RETENTION_DAYS="30"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "autoscorer.log",
        "autoscorer.log.2",
        "autoscorer.log.keep",
        "other.log.1",
    ]
    assert (tmp_path / "autoscorer.log").read_text() == ""


def test_a_log_folder_that_cannot_be_written_is_a_warning_and_no_crash(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    warning = configure_service_log(settings_for(tmp_path / "file"))
    assert warning is not None
    assert warning.startswith("LOG_DIR: cannot be written")
    log_event("ERROR", "nowhere to go", error=ValueError("x"))
    assert capfd.readouterr() == ("", "")


def test_before_it_is_configured_an_event_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("autoscorer").handlers.clear()
    log_event("ERROR", "too early")
    assert capfd.readouterr() == ("", "")


def test_configuring_again_replaces_the_former_log(tmp_path: Path) -> None:
    configure_service_log(settings_for(tmp_path / "one"))
    configure_service_log(settings_for(tmp_path / "two"))
    log_event("INFO", "once")
    assert lines_of(tmp_path / "one" / "autoscorer.log") == []
    assert len(lines_of(tmp_path / "two" / "autoscorer.log")) == 1


def test_lines_within_a_block_carry_its_ids_and_none_after_it(tmp_path: Path) -> None:
    configure_service_log(settings_for(tmp_path))
    with bound(request_id="r1", task_id="t1"), bound(task_id="t2", attempt=3):
        log_event("INFO", "inner")
        log_event("INFO", "own_word", task_id="t9")
        logging.getLogger("autoscorer.library").warning("of_another_logger")
    log_event("INFO", "after")
    told = {entry["event"]: entry["data"] for entry in lines_of(tmp_path / "autoscorer.log")}
    ids = {"request_id": "r1", "task_id": "t2", "attempt": 3}
    assert ids.items() <= told["inner"].items()
    assert {**ids, "task_id": "t9"}.items() <= told["own_word"].items()
    assert ids.items() <= told["of_another_logger"].items()
    assert not ids.keys() & told["after"].keys()


def test_ids_of_two_threads_do_not_mix(tmp_path: Path) -> None:
    configure_service_log(settings_for(tmp_path))
    both_bound = threading.Barrier(2, timeout=30)

    def work(task_id: str) -> None:
        with bound(task_id=task_id):
            both_bound.wait()
            log_event("INFO", task_id)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ["one", "two"]))
    entries = lines_of(tmp_path / "autoscorer.log")
    assert sorted((entry["event"], entry["data"]["task_id"]) for entry in entries) == [
        ("one", "one"),
        ("two", "two"),
    ]


def test_a_jobs_own_log_names_the_attempt_but_neither_worker_nor_request(tmp_path: Path) -> None:
    with bound(request_id="r1", task_id="t1", attempt=2, worker="host-7"):
        JobLogger("job-1", tmp_path).start({})
    data = job_lines(tmp_path)[0]["data"]
    assert (data["task_id"], data["attempt"]) == ("t1", 2)
    assert not {"request_id", "worker"} & data.keys()


@pytest.mark.slow
def test_a_line_that_is_too_long_still_says_whose_it_was() -> None:
    data = {"task_id": "t1", "attempt": 2, "job_id": "j", "much": [["x" * 4000] * 999] * 2}
    line = json.loads(encode_line("big", data, level="INFO", secrets=()))
    assert {"task_id": "t1", "attempt": 2, "job_id": "j"}.items() <= line["data"].items()
    assert "much" not in line["data"]


def test_no_test_keeps_or_logs_anything_with_the_user() -> None:
    settings, defaults = Config("/nowhere").settings, Config("/nowhere", environ={}).settings
    assert settings.data_dir != defaults.data_dir
    assert settings.log_dir != defaults.log_dir
