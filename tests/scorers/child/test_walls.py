"""What the walls around a scorer's process show and hide."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from autoscorer.confine import properties
from autoscorer.scorers.child import walls
from autoscorer.scorers.child.host import MAX_OPEN_FILES, ChildHost
from tests.scorers.child import odd

pytestmark = pytest.mark.sandbox
READS = """
try: open("{SECRET}").read()
except OSError: return good(won=0.0)
return good(won=1.0)
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder where a scorer's process can see what lies there: among the installed packages."""
    with TemporaryDirectory(dir=sys.prefix, prefix="autoscorer-test-") as folder:
        (Path(folder) / "secret").write_text("hunter2")
        yield Path(folder)


def test_the_platforms_folders_are_empty_even_in_a_tree_that_is_shown(data_dir: Path, tmp_path: Path) -> None:
    body = READS.replace("{SECRET}", str(data_dir / "secret"))
    control, host = ChildHost(odd.settings()), ChildHost(odd.settings(data_dir=data_dir))
    assert odd.score(control, tmp_path, body).result.metrics["won"] == 1.0
    assert odd.score(host, tmp_path, body).result.metrics["won"] == 0.0
    control.close()
    host.close()


def test_a_platforms_folder_that_is_not_there_is_not_made(data_dir: Path, tmp_path: Path) -> None:
    """Its mount point was made through the tree that is shown, on this machine."""
    host = ChildHost(odd.settings(data_dir=data_dir / "none"))
    assert odd.score(host, tmp_path, "return good()").result.metrics == {"m": 1.0}
    assert not (data_dir / "none").exists()
    host.close()


def test_a_result_names_every_wall_that_stands(host: ChildHost, tmp_path: Path) -> None:
    isolation = odd.score(host, tmp_path, "return good()").isolation
    assert isolation["mode"] == "child"
    assert isolation["not_enforced"] == [properties.HOST_USER, properties.DISK]


@pytest.mark.parametrize(
    ("missing", "property_"),
    [
        (walls.NETWORK, properties.NETWORK),
        (walls.FILES, properties.PACKAGES),
        (walls.PIDS, properties.PROCESSES),
        (walls.IPC, properties.IPC),
        (walls.SECCOMP, properties.USER_NAMESPACES),
        (walls.CAPABILITIES, properties.CAPABILITIES),
    ],
)
def test_a_wall_that_could_not_be_raised_is_not_claimed(missing: str, property_: str) -> None:
    raised: dict[str, str | None] = dict.fromkeys(
        (*walls.KINDS, walls.FILES, walls.CAPABILITIES, walls.SECCOMP)
    )
    assert property_ in walls.isolation(raised, {})["enforced"]
    told = walls.isolation({**raised, missing: "Operation not permitted"}, {})
    assert property_ in told["not_enforced"]
    assert property_ not in told["enforced"]


UNLINKED = """
folder = workspace / "output" / "artifacts"
kept = []
try:
    for number in range(1000):
        kept.append(open(folder / "hidden", "wb"))
        (folder / "hidden").unlink()
except OSError: pass
return good(kept=float(len(kept)))
"""


def test_few_files_can_be_kept_open_that_no_limit_sees(host: ChildHost, tmp_path: Path) -> None:
    assert 100 < odd.score(host, tmp_path, UNLINKED).result.metrics["kept"] < MAX_OPEN_FILES
