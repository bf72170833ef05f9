"""What every test may rely on: `sandbox` has bubblewrap, `docker` an engine and images, `k8s` a cluster,
`postgres`, `redis` and `rabbitmq` a server.

Where they are missing such a test skips with the reason. In CI, run by root, whatever skips has failed:
there every test is to have what it needs.
"""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Callable, Generator, Iterator

import pytest
from hypothesis import settings

from autoscorer.utils.artifacts import remove_tree
from autoscorer.utils.errors import AutoscorerError
from tests.celery_app.rabbitmq import missing_rabbitmq
from tests.celery_app.redis import missing_redis
from tests.store.postgres import missing_postgres
from tests.workspaces import make_workspace

__all__ = ["make_workspace"]

# What an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks by what a test stands on.

    `make chaos` runs whatever counts, or is marked as a fault. A whole service answers in the tests of `api`:
    together they are slow.
    """
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "counts" in fixtures:
            item.add_marker("fault")
        if "api" in fixtures:
            item.add_marker("slow")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if (fault := item.get_closest_marker("fault")) is not None and fault.args:
        done = "chaos_controls" if fault.kwargs.get("is_control") else "chaos_faults"
        item.user_properties += [("chaos_fault", fault.args[0]), (done, 1)]
    for marker, missing in _MISSING.items():
        if item.get_closest_marker(marker) is not None and (reason := missing()) is not None:
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and _nothing_may_be_missing():
        report.outcome = "failed"
        report.longrepr = f"skipped, and in CI nothing may be: {report.longrepr}"
    return report


def _nothing_may_be_missing() -> bool:
    return os.environ.get("CI") == "true" and os.geteuid() == 0


@functools.cache
def _missing_sandbox() -> str | None:
    from autoscorer.confine.bubblewrap import usable_bubblewrap

    try:
        usable_bubblewrap()
    except AutoscorerError as exc:
        return exc.message
    return None


@functools.cache
def _missing_engine() -> str | None:
    """Asked by hand: whether the engine answers must not depend on the code under test."""
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(host.removeprefix("unix://"))
            client.sendall(b"GET /images/autoscorer-test%2Fpython:3/json HTTP/1.0\r\n\r\n")
            answer = client.recv(64)
        except OSError as exc:
            return f"no Docker engine answers at {host} ({exc.strerror or exc}); scripts/testbed starts one"
    return None if b" 200 " in answer else "the test images are missing; scripts/testbed makes them"


def _missing_cluster() -> str | None:
    if os.environ.get("AUTOSCORER_TEST_KUBECONFIG"):
        return None
    return "AUTOSCORER_TEST_KUBECONFIG is not set; `make test-k8s` sets it or starts a cluster"


_MISSING: dict[str, Callable[[], str | None]] = {
    "sandbox": _missing_sandbox,
    "docker": _missing_engine,
    "k8s": _missing_cluster,
    "postgres": missing_postgres,
    "redis": missing_redis,
    "rabbitmq": missing_rabbitmq,
}


@pytest.fixture(autouse=True, scope="session")
def _no_data_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is shared by many tests keeps nothing with the user either."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_DIR", str(tmp_path_factory.mktemp("shared-data")))
        patch.setenv("LOG_DIR", str(tmp_path_factory.mktemp("shared-log")))
        yield


@pytest.fixture(autouse=True)
def _own_data_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what another one has kept, nor leaves anything with the user."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path_factory.mktemp("data")))
    monkeypatch.setenv("LOG_DIR", str(tmp_path_factory.mktemp("log")))


@pytest.fixture(autouse=True)
def _leave_no_hostile_trees(request: pytest.FixtureRequest) -> Iterator[None]:
    """Trees thousands of folders deep would break pytest's own, recursive clean-up of a later run."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is not None:
        remove_tree(folder)
