"""docker-py's connection over a Unix socket, closed when nobody listens; its own is left to the collector."""

from __future__ import annotations

import socket
from typing import Any

from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection, UnixHTTPConnectionPool


class _Connection(UnixHTTPConnection):  # type: ignore[misc]  # docker-py is not typed
    def connect(self) -> None:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            channel.settimeout(self.timeout)
            channel.connect(self.unix_socket)
        except BaseException:  # clean-up: an interrupt must not leave the socket open either
            channel.close()
            raise
        self.sock = channel


class _Pool(UnixHTTPConnectionPool):  # type: ignore[misc]
    def _new_conn(self) -> _Connection:
        return _Connection(self.base_url, self.socket_path, self.timeout)


class _Adapter(UnixHTTPAdapter):  # type: ignore[misc]
    def get_connection(self, url: str, proxies: Any = None) -> _Pool:
        with self.pools.lock:
            pool: _Pool | None = self.pools.get(url)
            if pool is None:
                pool = _Pool(url, self.socket_path, self.timeout, maxsize=self.max_pool_size)
                self.pools[url] = pool
            return pool


def close_what_cannot_connect(api: Any) -> None:
    """Give docker-py's client ``api`` our connections if it goes over a Unix socket."""
    given = getattr(api, "_custom_adapter", None)
    if isinstance(given, UnixHTTPAdapter):
        api._custom_adapter = _Adapter(given.socket_path, given.timeout, max_pool_size=given.max_pool_size)
        api.mount("http+docker://", api._custom_adapter)
        given.close()
