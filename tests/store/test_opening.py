"""A store is opened where it is asked for; until then no SDK of a database is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from autoscorer.store.opening import open_store


@pytest.mark.parametrize("name", ["plain", "with space", "what?#%41", "名前"])
def test_without_a_url_it_is_a_file_in_the_data_folder(tmp_path: Path, name: str) -> None:
    store = open_store(None, tmp_path / name)
    store.access.add_organisation("acme")
    store.close()
    assert (tmp_path / name / "jobs.db").is_file()
    again = open_store(None, tmp_path / name)
    assert [found.name for found in again.access.organisations()] == ["acme"]
    again.close()


def test_a_url_goes_before_the_data_folder(tmp_path: Path, sqlite_url: str) -> None:
    store = open_store(sqlite_url, tmp_path / "unused")
    store.check()
    store.close()
    assert not (tmp_path / "unused").exists()


def test_a_missing_extra_is_named_with_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from autoscorer.store.opening import open_store;"
        "sys.modules['sqlalchemy'] = None; open_store(None, Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    last_line = done.stderr.splitlines()[-1]
    assert "CONFIG_VALIDATION_ERROR" in last_line
    assert "needs the package sqlalchemy" in last_line
    assert "pip install autoscorer[service]" in last_line


def test_nothing_of_a_database_is_loaded_before_it_is_opened() -> None:
    program = (
        "import sys, autoscorer.store.opening, autoscorer.store.memory_store, autoscorer.store.leases,"
        " autoscorer.access.first;"
        "print(sorted({'sqlalchemy', 'alembic', 'psycopg', 'polars', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
