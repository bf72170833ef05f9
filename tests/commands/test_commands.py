"""The command line: answers in a pipe and on a terminal, exit codes, and what it does not load."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from autoscorer import __version__
from autoscorer.cli import CommandFolder
from autoscorer.utils.errors import code_table
from tests.cli import call, command, environment
from tests.workspaces import ROOT, MakeWorkspace

pytestmark = pytest.mark.slow  # the whole command, in a process of its own, again and again
TRUTH = "id,label\n1,cat\n2,dog\n"


def on_a_terminal(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and screen of a call whose standard output and error are a terminal."""
    return run_on_a_terminal(command(*arguments))


def on_a_terminal_with(env: Mapping[str, str], *arguments: str | Path) -> tuple[int, str]:
    """The same, with settings in the environment."""
    return run_on_a_terminal(command(*arguments), env)


def run_on_a_terminal(argv: list[str], env: Mapping[str, str] | None = None) -> tuple[int, str]:
    return run_on_a_terminal_until(argv, env or {}, shown="", number=0)


def run_on_a_terminal_until(
    argv: list[str], env: Mapping[str, str], *, shown: str, number: int
) -> tuple[int, str]:
    """Exit code and screen; once ``shown`` is on the screen it gets the signal ``number``."""

    def signal(process: subprocess.Popen[bytes]) -> None:
        if number:
            process.send_signal(number)

    return run_on_a_terminal_and(argv, env, shown=shown, then=signal)


def run_on_a_terminal_and(
    argv: list[str],
    env: Mapping[str, str],
    *,
    shown: str,
    then: Callable[[subprocess.Popen[bytes]], object],
) -> tuple[int, str]:
    """Exit code and screen; once ``shown`` is on the screen ``then`` is done."""
    leader, follower = pty.openpty()
    all_env = environment(**{"TERM": "xterm", "COLUMNS": "100", "LINES": "50", **env})
    process = subprocess.Popen(argv, stdout=follower, stderr=follower, env=all_env)
    os.close(follower)
    screen, is_awaited = b"", True
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # Linux answers EIO when the last writer is gone
            break
        if not chunk:
            break
        screen += chunk
        if is_awaited and shown.encode() in screen:
            is_awaited = False
            then(process)
    os.close(leader)
    return process.wait(), screen.decode()


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    reference, predictions = tmp_path / "truth.csv", tmp_path / "mine.csv"
    reference.write_text(TRUTH)
    predictions.write_text("id,label\n1,cat\n2,cat\n")
    return reference, predictions


def score(
    files: tuple[Path, Path], *more: str | Path, scorer: str = "classification_f1"
) -> tuple[str | Path, ...]:
    return ("score", "--reference", files[0], "--predictions", files[1], "--scorer", scorer, *more)


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['autoscorer', '--help']\n"
        "from autoscorer.cli import main\n"
        "try: main()\n"
        "except SystemExit as exc: assert not exc.code\n"
        "heavy = {'polars', 'numpy', 'hotcoco', 'pydantic', 'rich', 'yaml', 'psutil'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for name in ("validate", "run", "score", "pipeline", "config", "scorers", "init", "explain", "doctor"):
        assert f"\n  {name} " in done.stdout


def test_every_command_says_in_its_first_line_what_it_does() -> None:
    folder = CommandFolder()
    assert all(folder.summary(name).endswith(".") for name in folder)
    assert all(folder[name].name == name for name in folder)


def test_the_version_is_the_packages() -> None:
    assert call("--version").stdout.strip() == __version__


def test_in_a_pipe_the_answer_is_one_json_envelope_and_nothing_else(files: tuple[Path, Path]) -> None:
    called = call(*score(files))
    answer = called.answer
    assert set(answer) == {"ok", "status", "data", "error", "meta"}
    assert (answer["ok"], answer["status"], answer["error"]) == (True, "success", None)
    assert answer["meta"]["version"] == __version__
    assert answer["meta"]["timestamp"].endswith("Z")
    assert answer["meta"]["execution_time"] > 0
    assert called.stderr == ""
    # cat: precision 1/2, recall 1, F1 2/3; dog: 0; macro (2/3 + 0) / 2 = 1/3
    assert answer["data"]["result"]["summary"]["f1_macro"] == pytest.approx(1 / 3)


def test_on_a_terminal_the_answer_is_a_panel(files: tuple[Path, Path]) -> None:
    exit_code, screen = on_a_terminal(*score(files))
    assert exit_code == 0
    assert "f1_macro" in screen
    assert "0.333333" in screen
    assert '"ok"' not in screen


def test_on_a_terminal_json_is_given_when_asked_for(files: tuple[Path, Path]) -> None:
    exit_code, screen = on_a_terminal(*score(files, "--json"))
    assert exit_code == 0
    assert json.loads(screen)["ok"] is True


def test_a_failure_on_a_terminal_says_whose_fault_and_what_to_do_in_both_languages(
    files: tuple[Path, Path],
) -> None:
    files[1].write_text("id,label\n1,cat\n")
    exit_code, screen = on_a_terminal(*score(files))
    assert exit_code == 1
    for word in ("BAD_FORMAT", "participant", "mine.csv", "expected", "修正"):
        assert word in screen


def test_messages_name_the_file_as_the_user_called_it(files: tuple[Path, Path]) -> None:
    files[1].write_text("id,label\n1,cat\n")
    error = call(*score(files)).error
    assert error["message"].startswith("mine.csv")
    assert str(files[1].parent) not in json.dumps(error)


def test_a_score_without_workspace_writes_only_where_it_is_told(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    call(*score(files))
    assert sorted(tmp_path.rglob("*")) == before
    called = call(*score(files, "--output", tmp_path / "made" / "here"))
    stored = json.loads((tmp_path / "made" / "here" / "result.json").read_bytes())
    assert stored == called.answer["data"]["result"]


@pytest.mark.parametrize("own", ["artifacts/model.bin", "result.json", "artifacts"])
def test_a_score_replaces_nothing_of_the_users(files: tuple[Path, Path], own: str) -> None:
    kept = files[0].parent / own
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("months of work")
    called = call(*score(files, "--output", "."), cwd=files[0].parent)
    assert called.exit_code == 1
    assert called.error["code"] == "CONFIG_VALIDATION_ERROR"
    assert own.split("/", maxsplit=1)[0] in called.error["message"]
    assert "name a new folder" in json.dumps(called.error)
    assert kept.read_text() == "months of work"


def test_a_score_replaces_an_earlier_one_but_not_what_was_put_beside_it(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    again = score(files, "--output", tmp_path / "out")
    assert call(*again).exit_code == 0
    assert call(*again).exit_code == 0
    kept = tmp_path / "out" / "artifacts" / "notes.txt"
    kept.write_text("mine")
    assert call(*again).error["code"] == "CONFIG_VALIDATION_ERROR"
    assert kept.read_text() == "mine"


def test_an_answer_that_cannot_be_shown_is_told_without_a_traceback() -> None:
    code = """if True:
        import typer
        from autoscorer.commands._frame import Answer, execute
        app = typer.Typer()
        @app.command()
        def faulty(context: typer.Context) -> None:
            execute(context, lambda frame: Answer({}, lambda: {}["panel"]), as_json=False)
        app()
    """
    exit_code, screen = run_on_a_terminal([sys.executable, "-c", code])
    assert exit_code == 3
    assert "INTERNAL_ERROR" in screen
    assert "Traceback" not in screen


@pytest.mark.parametrize("kind", ["link to the truth", "pipe", "folder", "missing", "other suffix"])
def test_a_prediction_that_is_no_plain_file_is_never_scored(files: tuple[Path, Path], kind: str) -> None:
    reference, predictions = files
    predictions.unlink()
    if kind == "link to the truth":
        predictions.symlink_to(reference)
    elif kind == "pipe":
        os.mkfifo(predictions)
    elif kind == "folder":
        predictions.mkdir()
    elif kind == "other suffix":
        predictions = predictions.with_suffix(".txt")
        predictions.write_text(TRUTH)
    called = call(*score((reference, predictions)))
    assert called.exit_code == 1
    assert called.error["code"] == ("MISSING_FILE" if kind == "missing" else "BAD_FORMAT")
    assert called.error["details"]["blame"] == "participant"


def test_the_reference_may_be_a_link(files: tuple[Path, Path], tmp_path: Path) -> None:
    link = tmp_path / "link.csv"
    link.symlink_to(files[0])
    assert call(*score((link, files[1]))).exit_code == 0


def test_an_alias_is_the_same_scorer(files: tuple[Path, Path]) -> None:
    one = call(*score(files, scorer="classification_acc")).answer["data"]["result"]
    other = call(*score(files, scorer="classification_accuracy")).answer["data"]["result"]
    assert one["versioning"]["scorer"] == "classification_accuracy"
    assert one["versioning"]["score_digest"] == other["versioning"]["score_digest"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nothing",),
        ("run",),
        ("run", "x", "--backend", "moon"),
        ("run", "x", "--isolation", "none"),
        ("score",),
        ("score", "x", "--reference", "y"),
        ("score", "--reference", "y"),
        ("score", "x", "--params", "{"),
        ("score", "x", "--params", "[1]"),
        ("explain", "NO_SUCH_CODE"),
        ("pipeline", "x", "--no-such-option"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_known(arguments: tuple[str, ...]) -> None:
    called = call(*arguments)
    assert called.exit_code == 2
    assert called.stderr or called.stdout


def test_a_faulty_parameter_is_named(files: tuple[Path, Path]) -> None:
    called = call(*score(files, "--params", '{"beta": 2}'))
    assert called.exit_code == 1
    assert called.error["details"]["faults"][0]["field"] == "scorer_params.beta"


def test_explain_has_every_code_with_both_hints() -> None:
    rows = call("explain").answer["data"]["codes"]
    assert {(row["code"], row["cause"]) for row in rows} == {(row.code, row.cause) for row in code_table()}
    assert all(row["hint_en"] and row["hint_zh"] and row["meaning_en"] and row["meaning_zh"] for row in rows)
    assert {row["code"] for row in call("explain", "bad_format").answer["data"]["codes"]} == {"BAD_FORMAT"}


def test_scorers_list_says_metric_and_direction() -> None:
    listed = {row["name"]: row for row in call("scorers", "list").answer["data"]["scorers"]}
    assert listed["regression_rmse"]["higher_is_better"] is False
    assert listed["classification_accuracy"]["aliases"] == ["classification_acc"]
    assert {row["primary_metric"] for row in listed.values()} >= {"f1_macro", "accuracy", "rmse", "mAP"}


def test_validate_names_every_fault_of_folder_and_spec_at_once(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text('{"job_id": "../x", "scorrer": "s", "task_type": "t"}')
    (tmp_path / "logs").symlink_to("elsewhere")
    called = call("validate", tmp_path)
    assert called.exit_code == 1
    fields = [fault["field"] for fault in called.error["details"]["faults"]]
    assert set(fields) >= {"logs/", "job_id", "scorer", "scorrer"}


def test_validate_finds_a_missing_truth_and_an_unknown_scorer_together(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(truth=None, spec={"input_uri": "file://./nowhere"})
    fields = [fault["field"] for fault in call("validate", workspace).error["details"]["faults"]]
    assert fields == ["input_uri", "MISSING_FILE"]


def test_validate_of_an_unknown_scorer_keeps_its_code(make_workspace: MakeWorkspace) -> None:
    called = call("validate", make_workspace(spec={"scorer": "classification_f11"}))
    assert called.error["code"] == "SCORER_NOT_FOUND"
    assert "did you mean 'classification_f1'" in called.error["message"].lower()


def test_validate_writes_nothing(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    before = sorted(workspace.rglob("*"))
    assert call("validate", workspace).exit_code == 0
    assert sorted(workspace.rglob("*")) == before


@pytest.mark.parametrize("name", ["classification", "classification-acc", "regression", "detection", "test"])
def test_every_example_is_valid(name: str) -> None:
    assert call("validate", ROOT / "examples" / name).exit_code == 0


def test_config_faults_are_all_named_and_end_with_3(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("DEFAULT_MEMORY: lots\nTIMEOUT: -1\nTIMEOUTT: 5\n")
    called = call("--config", path, "config", "validate")
    assert called.exit_code == 3
    text = json.dumps(called.error)
    for key in ("DEFAULT_MEMORY", "TIMEOUT", "TIMEOUTT"):
        assert key in text


def test_config_dump_masks_secrets(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("K8S_TOKEN: planted-secret-1\nCELERY_BROKER: redis://:planted-secret-2@localhost/0\n")
    for arguments in (("config", "dump"), ("config", "show"), ("config", "validate")):
        called = call("--config", path, *arguments)
        assert "planted-secret" not in called.stdout + called.stderr
    assert "K8S_TOKEN" in call("--config", path, "config", "dump").answer["data"]


def test_init_makes_a_workspace_that_is_valid(tmp_path: Path) -> None:
    target = tmp_path / "my task"
    assert call("init", "regression", target).exit_code == 0
    assert call("validate", target).exit_code == 0
    again = call("init", "regression", target)
    assert again.exit_code == 1, "a folder that is not empty is not written over"


@pytest.mark.sandbox
def test_on_a_terminal_a_job_shows_its_stages_and_in_a_pipe_it_is_quiet(
    make_workspace: MakeWorkspace,
) -> None:
    program = (
        "import time; time.sleep(0.7); open('output/pred.csv', 'w').write('id,label\\n1,cat\\n2,cat\\n')"
    )
    workspace = make_workspace(program=program)
    _, screen = on_a_terminal("pipeline", workspace, "--backend", "local")
    assert "execute …" in screen
    assert call("pipeline", workspace, "--backend", "local").stderr == ""


def test_the_python_api_scores_files_and_raises_with_blame(files: tuple[Path, Path]) -> None:
    import autoscorer

    result = autoscorer.score(reference=files[0], predictions=files[1], scorer="classification_accuracy")
    assert result.summary["score"] == 0.5
    files[1].write_text("id,label\n")
    with pytest.raises(autoscorer.AutoscorerError) as caught:
        autoscorer.score(reference=files[0], predictions=files[1], scorer="classification_accuracy")
    assert (caught.value.code, caught.value.blame) == ("BAD_FORMAT", "participant")


def test_every_public_name_can_be_had() -> None:
    import autoscorer

    assert all(getattr(autoscorer, name) is not None for name in autoscorer.__all__)


@pytest.mark.sandbox
@pytest.mark.slow
def test_doctor_tries_each_property_and_says_what_is_never_enforced() -> None:
    called = call("doctor", "--backend", "local")
    data = called.answer["data"]
    assert data["backend"] == "local"
    assert {"no network", "memory limit", "read-only root, input and meta.json"} <= {
        probe["name"] for probe in data["probes"]
    }
    assert called.exit_code == (3 if data["failing"] else 0)
    assert "disk quota" in data["never_enforced"]


@pytest.mark.docker
@pytest.mark.slow
def test_doctor_tries_the_engine_where_one_answers() -> None:
    called = call("doctor")
    data = called.answer["data"]
    assert set(data) == {"backend", "engine", "probes", "never_enforced", "failing", "advice"}
    assert data["backend"] == "docker"
    assert data["engine"]["cgroup_version"] in ("1", "2")
    assert len(data["probes"]) > 10
    assert called.exit_code == (3 if data["failing"] else 0)


def test_doctor_without_bubblewrap_says_how_to_get_it(tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/none.sock"
    for backend in ("local", "auto"):  # without an engine that is the same
        called = call("doctor", "--backend", backend, env={"PATH": str(tmp_path), "DOCKER_HOST": nowhere})
        assert called.exit_code == 3
        assert called.answer["data"]["backend"] == "local"
        assert "bubblewrap is not installed" in called.stdout


def test_doctor_for_docker_without_an_engine_says_how_to_start_one(tmp_path: Path) -> None:
    called = call("doctor", "--backend", "docker", env={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    assert called.exit_code == 3
    assert called.error["code"] == "RESOURCE_UNAVAILABLE"
    assert "systemctl start docker" in called.error["message"]


def test_doctor_knows_no_other_backend() -> None:
    called = call("doctor", "--backend", "podman")
    assert called.exit_code == 2
    assert "docker" in called.stderr


def test_without_bubblewrap_nothing_runs_unless_it_is_trusted(
    make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    workspace = make_workspace(program="open('output/pred.csv', 'w').write('id,label\\n1,cat\\n2,cat\\n')")
    refused = call("run", workspace, "--backend", "local", env={"PATH": str(tmp_path)})
    assert refused.error["code"] == "RESOURCE_UNAVAILABLE"
    assert not (workspace / "output" / "pred.csv").exists()
    trusted = call("run", workspace, "--backend", "local", "--isolation", "trusted")
    assert trusted.exit_code == 0


def test_what_a_participant_wrote_cannot_drive_the_terminal(files: tuple[Path, Path]) -> None:
    files[1].write_text("id,label\n1,cat\n2,dog\n\x1b]0;pwned\x07\x1b[2J,cat\n")
    _, screen = on_a_terminal(*score(files))
    assert "pwned" in screen
    assert "\x1b]0;" not in screen
    assert "\x1b[2J" not in screen


def test_a_configuration_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    called = call("--config", tmp_path / "typo.yaml", "config", "validate")
    assert (called.exit_code, called.error["code"]) == (3, "CONFIG_VALIDATION_ERROR")
