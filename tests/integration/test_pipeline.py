"""A job from end to end in the real sandbox: what it leaves, what it never does."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoscorer import pipeline
from autoscorer.facade import run_pipeline
from autoscorer.runtime import job_context, open_catalog
from autoscorer.schemas.result import Result
from autoscorer.utils.config import Config
from autoscorer.utils.errors import AutoscorerError
from tests.cli import call, command, environment
from tests.schemas.test_job import REFERENCE_EXAMPLE
from tests.workspaces import ROOT, MakeWorkspace

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

GOOD = "open('output/pred.csv', 'w').write('id,label\\n1,cat\\n2,cat\\n')"


def result_of(workspace: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((workspace / "output" / "result.json").read_bytes())
    return value


def failed(workspace: Path, *arguments: str) -> dict[str, Any]:
    """The error of a call that fails, the same on standard output and in `result.json`."""
    called = call(*arguments, workspace, *(["--backend", "local"] if arguments[0] != "score" else []))
    assert called.exit_code in (1, 3)
    stored = result_of(workspace)
    assert stored["metrics"] == {}
    assert stored["error"]["code"] == called.error["code"]
    assert stored["error"]["ok"] is False
    assert called.answer["status"] == "error"
    return called.error


def test_the_reference_example_unchanged_gives_the_reference_result(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "gt.csv").write_text("id,label\n1,cat\n2,dog\n")
    (tmp_path / "meta.json").write_text(REFERENCE_EXAMPLE)
    called = call("pipeline", tmp_path, "--backend", "local")
    assert called.exit_code == 0
    result = called.answer["data"]["result"]
    assert result["summary"]["f1_macro"] == 1.0
    assert result["metrics"] == {"f1_macro": 1.0, "f1_cat": 1.0, "f1_dog": 1.0}
    assert result["versioning"]["scorer"] == "classification_f1"
    assert result == result_of(tmp_path)
    warned = [warning["code"] for warning in called.answer["meta"]["warnings"]]
    assert warned == ["GROUND_TRUTH_EXPOSED"]


@pytest.mark.parametrize("name", ["classification", "classification-acc", "regression", "detection"])
def test_every_example_scores_what_its_readme_says(tmp_path: Path, name: str) -> None:
    workspace = tmp_path / name
    shutil.copytree(ROOT / "examples" / name, workspace, ignore=shutil.ignore_patterns("output", "logs"))
    called = call("pipeline", workspace, "--backend", "local")
    score = called.answer["data"]["result"]["summary"]["score"]
    readme = (ROOT / "examples" / "README.md").read_text()
    assert f"{score:.4f}" in readme
    assert score != 1.0


def test_the_delivered_example_scores_what_its_readme_says(tmp_path: Path) -> None:
    workspace = tmp_path / "test"
    shutil.copytree(ROOT / "examples" / "test", workspace)
    called = call("score", workspace)
    score = called.answer["data"]["result"]["summary"]["score"]
    assert f"{score:.4f}" in (ROOT / "examples" / "README.md").read_text()


def test_a_result_carries_its_audit(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(program=GOOD)
    versioning = call("pipeline", workspace, "--backend", "local").answer["data"]["result"]["versioning"]
    for key in ("job_id", "image_digest", "scorer_sha256", "reference_sha256", "predictions_sha256"):
        assert versioning[key]
    assert json.loads(versioning["isolation"])["mode"] == "hardened"
    assert json.loads(versioning["params"]) == {}
    expected = subprocess.run(
        ["sha256sum", workspace / "reference" / "gt.csv"], capture_output=True, text=True, check=True
    )
    assert versioning["reference_sha256"] == expected.stdout.split()[0]


def test_run_and_then_score_say_the_same_as_pipeline(make_workspace: MakeWorkspace) -> None:
    once, twice = make_workspace(program=GOOD), make_workspace(program=GOOD)
    call("pipeline", once, "--backend", "local")
    assert call("run", twice, "--backend", "local").exit_code == 0
    assert not (twice / "output" / "result.json").exists()
    assert call("score", twice).exit_code == 0
    first, second = result_of(once), result_of(twice)
    assert first["summary"] == second["summary"]
    for key in ("score_digest", "backend", "isolation", "predictions_sha256"):
        assert first["versioning"][key] == second["versioning"][key]
    assert "run_seconds" in second["timing"]


def test_a_run_is_not_credited_with_predictions_it_did_not_write(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(program=GOOD)
    call("run", workspace, "--backend", "local")
    (workspace / "output" / "pred.csv").write_text("id,label\n1,cat\n2,dog\n")
    call("score", workspace)
    assert "backend" not in result_of(workspace)["versioning"]


def test_what_a_job_leaves_behind(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(program=f"print('hello'); {GOOD}")
    call("pipeline", workspace, "--backend", "local")
    assert sorted(path.name for path in (workspace / "output").iterdir()) == [
        "artifacts",
        "pred.csv",
        "result.json",
    ]
    assert list((workspace / ".attempts").iterdir()) == []
    assert "hello" in (workspace / "logs" / "container.log").read_text()
    assert not (workspace / "logs" / "inspect.json").exists()
    lines = (workspace / "logs" / "job.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events == [
        "job_started",
        "execution_started",
        "execution_completed",
        "scoring_started",
        "scoring_completed",
        "job_completed",
    ]


def test_keep_keeps_the_attempt(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(program=GOOD)
    call("pipeline", workspace, "--backend", "local", "--keep")
    assert (workspace / ".attempts" / "1" / "out" / "pred.csv").exists()


def test_dry_run_shows_the_plan_and_runs_nothing(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(program=GOOD)
    before = sorted(workspace.rglob("*"))
    called = call("run", workspace, "--backend", "local", "--dry-run")
    assert called.answer["data"]["limits"]["memory_bytes"] == 256 * 2**20
    assert called.answer["data"]["command"][0] == "python"
    assert sorted(workspace.rglob("*")) == before


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import sys; print('why', file=sys.stderr); sys.exit(3)", "CONTAINER_EXIT_NONZERO"),
        ("pass", "MISSING_FILE"),
        ("open('output/pred.csv', 'w').write('nonsense')", "BAD_FORMAT"),
        ("open('output/pred.csv', 'wb').write(bytes(10))", "PARSE_ERROR"),
        ("import os; os.symlink('/workspace/meta.json', 'output/pred.csv')", "OUTPUT_INVALID"),
        ("import os; os.mkfifo('output/pred.csv')", "OUTPUT_INVALID"),
        ("import os; os.mkdir('output/pred.csv')", "BAD_FORMAT"),
    ],
)
def test_a_failing_program_is_the_participants_fault_and_gets_no_score(
    make_workspace: MakeWorkspace, program: str, code: str
) -> None:
    workspace = make_workspace(program=program)
    error = failed(workspace, "pipeline")
    assert error["code"] == code
    assert error["details"]["blame"] == "participant"
    assert set(error["details"]["hint"]) == {"en", "zh"}


def test_the_last_lines_of_stderr_and_what_it_used_are_in_the_result(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(program="import sys; print('the reason', file=sys.stderr); sys.exit(3)")
    error = failed(workspace, "run")
    assert "the reason" in error["details"]["stderr_tail"]
    assert result_of(workspace)["resources"]["peak_memory_bytes"] > 0
    assert result_of(workspace)["timing"]["run_seconds"] > 0
    inspected = json.loads((workspace / "logs" / "inspect.json").read_bytes())
    assert inspected["outcome"]["exit_code"] == 3
    assert inspected["error"]["code"] == "CONTAINER_EXIT_NONZERO"


def test_an_old_prediction_is_never_scored_for_a_new_run(make_workspace: MakeWorkspace) -> None:
    perfect = "id,label\n1,cat\n2,dog\n"
    workspace = make_workspace(program="raise SystemExit(1)", predictions=perfect)
    control = call("score", workspace)
    assert control.answer["data"]["result"]["summary"]["score"] == 1.0
    failed(workspace, "pipeline")
    assert not (workspace / "output" / "pred.csv").exists()
    assert failed(workspace, "score")["code"] == "MISSING_FILE"
    kept = list(workspace.glob(".attempts/*/previous_output/pred.csv"))
    assert [path.read_text() for path in kept] == [perfect], "a delivered file is moved, never lost"


def test_a_planted_result_is_not_taken_and_is_named(make_workspace: MakeWorkspace) -> None:
    plant = "import json; json.dump({'summary': {'score': 99}}, open('output/result.json', 'w'))"
    workspace = make_workspace(program=f"{plant}; {GOOD}")
    called = call("run", workspace, "--backend", "local")
    assert [warning["code"] for warning in called.answer["meta"]["warnings"]] == ["RESERVED_NAME"]
    assert not (workspace / "output" / "result.json").exists()


def test_the_program_cannot_see_the_truth_or_the_logs(make_workspace: MakeWorkspace) -> None:
    look = (
        "import os\n"
        "seen = [os.path.join(d, f) for d, _, fs in os.walk('/workspace') for f in fs]\n"
        f"{GOOD}\n"
        "open('output/seen.txt', 'w').write(' '.join(sorted(seen)))"
    )
    workspace = make_workspace(program=look)
    (workspace / "input" / "x.csv").write_text("id\n1\n")
    call("run", workspace, "--backend", "local")
    seen = (workspace / "output" / "seen.txt").read_text().split()
    assert seen == ["/workspace/input/x.csv", "/workspace/meta.json"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_job_as_cancelled(make_workspace: MakeWorkspace, number: signal.Signals) -> None:
    program = "import os, time; print(os.getpid(), flush=True)\nwhile True: time.sleep(1)"
    workspace = make_workspace(program=program)
    process = subprocess.Popen(
        command("run", workspace, "--backend", "local"), stdout=subprocess.PIPE, env=environment()
    )
    log = workspace / "logs" / "container.log"
    while process.poll() is None and not (log.exists() and log.read_text().strip()):
        pass
    process.send_signal(number)
    stdout, _ = process.communicate(timeout=30)
    assert json.loads(stdout)["error"]["code"] == "CANCELLED"
    assert process.returncode == 1
    assert result_of(workspace)["error"]["details"]["blame"] == "nobody"


def test_two_jobs_on_one_workspace_do_not_meet(make_workspace: MakeWorkspace) -> None:
    program = "import time; print('up', flush=True); time.sleep(60)"
    workspace = make_workspace(program=program)
    first = subprocess.Popen(
        command("run", workspace, "--backend", "local"), stdout=subprocess.PIPE, env=environment()
    )
    log = workspace / "logs" / "container.log"
    while first.poll() is None and not (log.exists() and log.read_text().strip()):
        pass
    second = call("run", workspace, "--backend", "local")
    assert second.error["code"] == "WORKSPACE_BUSY"
    assert second.error["details"]["pid"] == str(first.pid)
    assert not (workspace / "output").exists(), "the second left the first's workspace alone"
    first.terminate()
    first.communicate(timeout=30)


def test_a_trusted_run_is_said_to_be_one(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(program=GOOD)
    called = call("pipeline", workspace, "--backend", "local", "--isolation", "trusted")
    isolation = json.loads(called.answer["data"]["result"]["versioning"]["isolation"])
    assert isolation["mode"] == "trusted"
    assert "no network" not in isolation["enforced"]


def test_auto_never_falls_back_to_less_isolation(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(program=GOOD)
    called = call("run", workspace, env={"DOCKER_HOST": "unix:///nowhere/docker.sock"})
    assert called.exit_code == 3
    assert called.error["code"] == "RESOURCE_UNAVAILABLE"
    assert "--backend local" in called.error["message"]
    assert not (workspace / "output" / "pred.csv").exists()


def test_one_digest_over_fifty_runs_threads_and_orders(make_workspace: MakeWorkspace) -> None:
    rows = [f"{number},{'abc'[number * 7 % 3]}" for number in range(3_000)]
    truth = "id,label\n" + "\n".join(rows) + "\n"
    wrong = [row if number % 5 else f"{number},a" for number, row in enumerate(rows)]
    workspace = make_workspace(truth=truth)
    (workspace / "output").mkdir()
    digests = set()
    generator = random.Random(1)
    for number in range(50):
        generator.shuffle(wrong)
        (workspace / "output" / "pred.csv").write_text("id,label\n" + "\n".join(wrong) + "\n")
        called = call("score", workspace, env={"POLARS_MAX_THREADS": str(number % 2 + 1)})
        digests.add(called.answer["data"]["result"]["versioning"]["score_digest"])
    assert len(digests) == 1
    (workspace / "reference" / "gt.csv").write_text(truth.replace("0,a", "0,b", 1))
    other = call("score", workspace).answer["data"]["result"]["versioning"]["score_digest"]
    assert other not in digests, "control: another truth gives another digest"


def test_a_full_disk_is_the_platforms_fault_and_gives_no_score(make_workspace: MakeWorkspace) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    source = make_workspace(predictions="id,label\n1,cat\n2,dog\n")
    small = source.parent / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=True)
    try:
        shutil.copytree(source, small / "ws")
        filler = small / "filler"
        fill = subprocess.run(
            ["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], capture_output=True, check=False
        )
        assert b"No space left" in fill.stderr
        called = call("score", small / "ws")
        assert called.exit_code == 3
        assert called.error["details"]["blame"] in ("platform", "operator")
        filler.unlink()
        assert call("score", small / "ws").exit_code == 0, "control: with room it scores"
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_a_workspace_whose_output_and_logs_are_mounts_of_their_own_works_the_same(
    make_workspace: MakeWorkspace, kind: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    workspace = make_workspace(program=GOOD, predictions="id,label\n1,cat\n2,dog\n")
    mounts = []
    try:
        for name in ("output", "logs"):
            volume, folder = workspace.parent / f"volume-{name}", workspace / name
            volume.mkdir()
            folder.mkdir(exist_ok=True)
            source = ["-t", "tmpfs", "tmpfs"] if kind == "tmpfs" else ["--bind", str(volume)]
            subprocess.run(["mount", *source, folder], check=True)
            mounts.append(folder)
        delivered = workspace / "output" / "pred.csv"
        delivered.write_text("id,label\n1,cat\n2,dog\n")
        for _ in range(2):  # the second time over a result that is there
            assert call("score", workspace).exit_code == 0
            assert result_of(workspace)["summary"]["score"] == 1.0
        assert call("pipeline", workspace, "--backend", "local").exit_code == 0
        assert result_of(workspace)["summary"]["score"] < 1.0
        names = sorted(path.name for path in (workspace / "output").iterdir())
        assert names == ["artifacts", "pred.csv", "result.json"]
        assert (workspace / "logs" / "run_info.json").exists()
        kept = list(workspace.glob(".attempts/*/previous_output/pred.csv"))
        assert [path.read_text() for path in kept] == ["id,label\n1,cat\n2,dog\n"]
    finally:
        for folder in mounts:
            subprocess.run(["umount", folder], check=True)


def test_the_former_artifacts_stand_until_the_new_score_is_told(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(predictions="id,label\n1,cat\n2,cat\n")
    artifacts = workspace / "output" / "artifacts"

    def shown() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in artifacts.iterdir()}

    at_the_end = []

    def conclude(result: Result, _: AutoscorerError | None) -> Result:
        at_the_end.append(shown())
        return result

    settings = Config().settings
    with open_catalog(settings) as catalog:
        context = job_context(settings, catalog)
        pipeline.score(context, workspace)
        former = shown()
        (workspace / "output" / "pred.csv").write_text("id,label\n1,cat\n2,dog\n")
        pipeline.score(replace(context, conclude=conclude), workspace)
    assert at_the_end == [former]
    assert shown() != former


@pytest.mark.parametrize(
    ("fault", "code"), [(RuntimeError, "INTERNAL_ERROR"), (KeyboardInterrupt, "CANCELLED")]
)
@pytest.mark.parametrize(
    ("at", "stage"), [("autoscorer.pipeline.plan", "execution"), ("autoscorer.pipeline.evaluate", "scoring")]
)
def test_a_fault_of_ours_or_an_interrupt_in_a_pipeline_is_told_of_the_stage_it_came_in(
    make_workspace: MakeWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    fault: type[BaseException],
    code: str,
    at: str,
    stage: str,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise fault

    workspace = make_workspace(program=GOOD)
    monkeypatch.setattr(at, broken)
    with pytest.raises(AutoscorerError) as caught:
        run_pipeline(workspace, backend="local")
    assert (caught.value.code, caught.value.stage) == (code, stage)
    assert result_of(workspace)["error"]["stage"] == stage


@pytest.mark.parametrize("name", ["regression", "detection"])
def test_one_digest_whatever_the_order_of_rows_and_boxes(tmp_path: Path, name: str) -> None:
    workspace = tmp_path / name
    shutil.copytree(ROOT / "examples" / name, workspace, ignore=shutil.ignore_patterns("output", "logs"))
    call("run", workspace, "--backend", "local")
    (delivered,) = (workspace / "output").glob("pred.*")
    text = delivered.read_text()
    digests, contents = set(), set()
    generator = random.Random(2)
    for number in range(6):
        if name == "detection":
            boxes = json.loads(text)
            assert len({box["score"] for box in boxes}) == len(boxes), "ties go by file order"
            generator.shuffle(boxes)
            delivered.write_text(json.dumps(boxes))
        else:
            header, *rows = text.splitlines()
            generator.shuffle(rows)
            delivered.write_text("\n".join([header, *rows, ""]))
        contents.add(delivered.read_bytes())
        called = call("score", workspace, env={"POLARS_MAX_THREADS": str(number % 2 + 1)})
        digests.add(called.answer["data"]["result"]["versioning"]["score_digest"])
    assert len(contents) > 1
    assert len(digests) == 1
