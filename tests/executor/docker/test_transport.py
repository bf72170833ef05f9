"""A socket that could not connect is closed at once, not left to the garbage collector."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
import requests

from autoscorer.executor.docker.client import connect
from tests.executor.docker.engines import http_engine, settings_of

VERSION = {"Version": "99.0", "ApiVersion": "1.41", "Arch": "amd64", "Os": "linux"}


def sockets_lost_by(ask: Callable[[], Any]) -> int:
    """How many open sockets the collector found after a call that nobody answered."""
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(requests.ConnectionError):
            ask()
        gc.collect()
    return sum("unclosed <socket" in str(warning.message) for warning in caught)


@pytest.mark.slow
def test_a_call_of_an_engine_that_is_gone_loses_no_socket(tmp_path: Path) -> None:
    with http_engine(tmp_path / "d.sock", lambda *_: (200, VERSION)):
        engine = connect(settings_of(tmp_path / "d.sock"))
        assert engine.api.version()["Version"] == "99.0"
    with engine:
        assert sockets_lost_by(engine.api.info) == 0


@pytest.mark.slow
def test_control_docker_py_alone_loses_one(tmp_path: Path) -> None:
    client = docker.APIClient(base_url=f"unix://{tmp_path}/none.sock", version="1.41")
    assert sockets_lost_by(client.info) == 1
    client.close()
