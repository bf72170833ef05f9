"""The HTTP server in a thread: its port, its start, its end; and that one `serve` alone has a DATA_DIR."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import ipaddress
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.logger import log_event

if TYPE_CHECKING:
    import uvicorn

BACKLOG = 2048


@contextmanager
def alone_in(data_dir: Path, *, shared: bool = False) -> Iterator[None]:
    """Be the only `serve` that works with this DATA_DIR, or one of several that only answer (``shared``).

    The lock is the kernel's: it goes with the process, however that ends.
    Raises CONFIG_VALIDATION_ERROR if there is another.
    """
    path = data_dir / "serve.lock"
    file = _opened(path)
    try:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            other = os.read(file, 64).decode("ascii", "replace").strip() or "unknown"
            message = (
                f"another `autoscorer serve` (process {other}) works with {data_dir}; "
                "stop it, or give this one a DATA_DIR of its own"
            )
            raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="configuration") from exc
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(file)


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        message = f"DATA_DIR {path.parent} cannot be used ({exc.strerror}); name a folder you may write to"
        raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="configuration") from exc


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any free one.

    Raises CONFIG_VALIDATION_ERROR with what to do: the port is taken, the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except BaseException:  # clean-up: a port that cannot be used is given back
            listener.close()
            raise
    except OSError as exc:
        raise AutoscorerError(
            "CONFIG_VALIDATION_ERROR", _cannot_listen(host, port, exc), cause="configuration"
        ) from exc
    return listener


def _cannot_listen(host: str, port: int, exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        what = f"port {port} on {host} is taken by another program"
        return f"{what}; stop that, or choose another with --port or API_PORT (0 is any free one)"
    return f"cannot listen on {host}, port {port} ({exc.strerror}); give --host an address of this machine"


def url_of(listener: socket.socket) -> str:
    """Where a program on this machine reaches it."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listener: socket.socket) -> bool:
    """Whether programs of this machine alone reach it."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


class HttpServer:
    """uvicorn on a socket that listens already. `run` belongs into a thread, all else is for others."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        import uvicorn

        logger = logging.getLogger("uvicorn")
        logger.handlers, logger.propagate = [_ToServiceLog(logging.WARNING)], False
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # of proxies that the operator trusts the application believes them
            ws="none",
            lifespan="off",  # what it would end `serving` ends; one that is cut off would be told as a fault
        )
        self._server: uvicorn.Server = uvicorn.Server(config)
        self._listener = listener
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def started(self) -> bool:
        return self._server.started

    def run(self) -> None:
        """Answer requests until `refuse`, and those under way to their end or until `drop`."""
        asyncio.run(self._serve())

    def refuse(self) -> None:
        """Take no further connection."""
        self._server.should_exit = True

    def drop(self) -> None:
        """End the requests that are still under way."""
        self._server.force_exit = True
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._cancel)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[self._listener])

    def _cancel(self) -> None:
        for task in list(self._server.server_state.tasks):
            task.cancel()


class _ToServiceLog(logging.Handler):
    """What the server says, into the service log, where secrets are filtered out."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, asyncio.CancelledError):  # a request that `drop` ended
            return
        log_event(record.levelname, "http_server", error=error, message=record.getMessage())
