"""The token for `/metrics`: one for all processes, for its owner's eyes only."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from autoscorer.monitoring.token import FILE, bearer, is_metrics_token, metrics_token
from autoscorer.utils.config import Config, Settings
from autoscorer.utils.errors import AutoscorerError


def settings_in(folder: Path, **environ: str) -> Settings:
    return Config("/nowhere", environ={"DATA_DIR": str(folder), **environ}).settings


def test_the_operators_own_token_is_used_and_none_is_made(tmp_path: Path) -> None:
    assert metrics_token(settings_in(tmp_path, METRICS_TOKEN="x" * 20)) == "x" * 20
    assert list(tmp_path.iterdir()) == []


def test_one_is_made_for_its_owner_alone_and_stays(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    token = metrics_token(settings_in(folder))
    assert len(token) >= 40
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    assert metrics_token(settings_in(folder)) == token
    assert [path.name for path in folder.iterdir()] == [FILE]


def test_one_that_others_could_read_is_made_anew(tmp_path: Path) -> None:
    token = metrics_token(settings_in(tmp_path))
    (tmp_path / FILE).chmod(0o644)
    assert metrics_token(settings_in(tmp_path)) != token
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    planted.write_text("known-to-an-attacker")
    planted.chmod(0o600)
    data = tmp_path / "data"
    data.mkdir()
    (data / FILE).symlink_to(planted)
    with pytest.raises(AutoscorerError) as caught:
        metrics_token(settings_in(data))
    assert caught.value.code == "CONFIG_VALIDATION_ERROR"


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    program = (
        "import sys; from autoscorer.monitoring.token import metrics_token; "
        "from autoscorer.utils.config import Config; "
        "print(metrics_token(Config('/nowhere', environ={'DATA_DIR': sys.argv[1]}).settings))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "shared")]
    crew = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    told = [process.communicate(timeout=120)[0] for process in crew]
    assert len(set(told)) == 1
    assert told[0].strip()


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", ""),
        ("abc", ""),
        ("", ""),
    ],
)
def test_the_token_is_the_bearers(header: str, token: str) -> None:
    assert bearer(header) == token


def test_only_the_whole_token_is_right() -> None:
    assert is_metrics_token("secret-secret-1", "secret-secret-1")
    assert not any(
        is_metrics_token(given, "secret") for given in ("", "secre", "secret ", "sécret", "\udcff")
    )
