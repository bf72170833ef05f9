"""The door to a store: one that DATABASE_URL names, without loading a database's SDK before it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoscorer.store.base import Store
from autoscorer.utils.errors import AutoscorerError

_FILE = "jobs.db"


def open_store(url: str | None, data_dir: Path) -> Store:
    """The store at ``url``, its tables up to date; without one, a SQLite file in ``data_dir``.

    Raises CONFIG_VALIDATION_ERROR when the URL names no database we can use or the extra is missing,
    STORE_UNAVAILABLE when nobody answers there.
    """
    with _extra_named():
        from autoscorer.store import sql_store
    return sql_store.open_store(url) if url else sql_store.open_file(data_dir / _FILE)


def present_store(url: str | None, data_dir: Path) -> Store | None:
    """What `open_store` opens, its tables left as they are; None where there never was a store.

    Raises CONFIG_VALIDATION_ERROR as `open_store`.
    """
    if url is None and not (data_dir / _FILE).exists():
        return None
    with _extra_named():
        from autoscorer.store import sql_store
    return sql_store.SqlStore(url or sql_store.file_url(data_dir / _FILE))


@contextmanager
def _extra_named() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as exc:
        message = (
            f"The service's database needs the package {exc.name}, which is not installed: "
            "`pip install autoscorer[service]`."
        )
        raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="configuration") from exc
