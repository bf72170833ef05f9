"""The door to a store: one that DATABASE_URL names, without loading a database's SDK before it is needed."""

from __future__ import annotations

from pathlib import Path

from autoscorer.store.base import Store
from autoscorer.utils.errors import AutoscorerError


def open_store(url: str | None, data_dir: Path) -> Store:
    """The store at ``url``, its tables up to date; without one, a SQLite file in ``data_dir``.

    Raises CONFIG_VALIDATION_ERROR when the URL names no database we can use or the extra is missing,
    STORE_UNAVAILABLE when nobody answers there.
    """
    try:
        from autoscorer.store import sql_store
    except ModuleNotFoundError as exc:
        message = (
            f"The service's database needs the package {exc.name}, which is not installed: "
            "`pip install autoscorer[service]`."
        )
        raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="configuration") from exc
    return sql_store.open_store(url) if url else sql_store.open_file(data_dir / "jobs.db")
