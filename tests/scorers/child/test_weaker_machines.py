"""Where the machine allows less a scorer computes all the same, and the result says what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autoscorer.confine import properties
from autoscorer.confine.bubblewrap import usable_bubblewrap
from tests.cli import environment
from tests.scorers.child import odd
from tests.workspaces import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]
NO_NAMESPACES = (
    *("--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"),
    *("--dev-bind", "/", "/", "--ro-bind", "/sys", "/sys"),
)
COVERED_PROC = (
    *("--unshare-user", "--unshare-pid", "--dev-bind", "/", "/"),
    *("--proc", "/proc", "--ro-bind", "/dev/null", "/proc/stat"),
)
PROGRAM = """
import json, sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
tempfile.tempdir = sys.argv[2]
from autoscorer import facade
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.child.host import ChildHost
from autoscorer.utils.errors import AutoscorerError
from tests.scorers.child import odd
folder, told = Path(sys.argv[2]), {}
host = ChildHost(odd.settings(scorer_time_limit_s=3), warm=True)
for name, body in json.loads(sys.argv[3]).items():
    try:
        scoring = odd.score(host, folder, body)
        told[name] = [None, dict(scoring.result.metrics)]
    except AutoscorerError as exc:
        told[name] = [exc.code, exc.details]
(folder / "truth.csv").write_text("id,label\\n1,cat\\n2,dog\\n")
(folder / "mine.csv").write_text("id,label\\n1,cat\\n2,cat\\n")
catalog = Catalog(lambda: host, isolate=True)
found = facade.score_files(catalog, folder / "truth.csv", folder / "mine.csv", "classification_f1")
told["isolation"] = json.loads(found.versioning["scorer_isolation"])
catalog.close()
print(json.dumps(told))
"""
BODIES = {
    "good": "return good(m=0.5)",
    "polars": "import polars\nreturn good(m=float(polars.DataFrame({'a': [0.25, 0.5]})['a'].max()))",
    "proc": "return good(m=float(len(os.listdir('/proc'))))",
    "loop": "while True: pass",
    "crash": "os.abort()",
    "memory": "kept = [b'x' * 2**24 for _ in range(60)]\ntime.sleep(2)\nreturn good()",
    "daemon": "if os.fork() == 0:\n    os.setsid()\n    time.sleep(60)\nreturn good()",
    "again": "return good(m=0.5)",
}


def scored_in(walls: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """What each body and a built-in scorer came to on such a machine."""
    odd.view(folder)
    command: list[str | Path] = [
        usable_bubblewrap(),
        *walls,
        sys.executable,
        "-c",
        PROGRAM,
        ROOT,
        folder,
        json.dumps(BODIES),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(), check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def assert_verdicts(told: dict[str, Any]) -> None:
    assert (told["good"], told["polars"]) == ([None, {"m": 0.5}], [None, {"m": 0.5}])
    assert [told[name][0] for name in ("loop", "crash", "memory", "daemon")] == [
        "SCORER_TIMEOUT",
        "SCORER_CRASH",
        "SCORER_MEMORY",
        None,
    ]
    assert told["again"] == [None, {"m": 0.5}]


def test_without_namespaces_a_scorer_is_still_limited_and_the_result_says_what_is_missing(
    tmp_path: Path,
) -> None:
    told = scored_in(NO_NAMESPACES, tmp_path)
    assert_verdicts(told)
    missing = set(told["isolation"]["not_enforced"])
    assert missing >= {
        *(properties.NETWORK, properties.PACKAGES, properties.PROCESSES, properties.IPC, properties.DISK)
    }
    held = set(told["isolation"]["enforced"])
    assert held >= {properties.SECCOMP, properties.NO_NEW_PRIVILEGES, "memory limit (polled)"}


def test_where_proc_is_covered_a_scorer_computes_without_one(tmp_path: Path) -> None:
    told = scored_in(COVERED_PROC, tmp_path)
    assert_verdicts(told)
    assert told["proc"] == [None, {"m": 0.0}]
    assert told["isolation"]["not_enforced"] == [properties.HOST_USER]
