"""A private RabbitMQ on a free port of the loopback, in a folder of its own."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.celery_app.redis import free_port
from tests.worker.sites import until

_PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


@functools.cache
def missing_rabbitmq() -> str | None:
    """Why there is no RabbitMQ to test with, if there is none."""
    if not _PROGRAM.exists():
        return "rabbitmq-server is missing (apt-get install rabbitmq-server)"
    return None


@contextmanager
def rabbitmq_server() -> Iterator[str]:
    """Its URL, while it runs. The names of its node and its ports are its own, so others are not met."""
    folder = Path(tempfile.mkdtemp(prefix="autoscorer-mq-", dir="/tmp"))
    port = free_port()
    environ = {
        **os.environ,
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none.sh"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_PORT": str(free_port()),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [_PROGRAM], env=environ, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        until(lambda: _answers(port), within_s=120, what="RabbitMQ answers")
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        until(lambda: _is_ended(environ), what="the port mapper ends")
        shutil.rmtree(folder, ignore_errors=True)


def _is_ended(environ: dict[str, str]) -> bool:
    """Erlang's port mapper outlives us, and refuses to end until it has heard that its node is gone."""
    asked = subprocess.run(["epmd", "-kill"], env=environ, capture_output=True, text=True, check=False)
    return "Cannot connect" in asked.stdout + asked.stderr


def _answers(port: int) -> bool:
    """Whether it speaks AMQP: it begins a handshake."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(client.recv(8))
    except OSError:
        return False
