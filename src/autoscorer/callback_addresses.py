"""Where callbacks may go: addresses outside, and internal ones only by the operator's word."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

from autoscorer.utils.errors import AutoscorerError

MAX_URL_LENGTH = 2048
_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[!-\[\]-~]+")  # printable ASCII without space and backslash
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a last label like this makes the whole an IPv4 address
_INTERNAL_NAMES = ("localhost", "local", "internal", "localdomain", "home.arpa")
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
_TEREDO = ipaddress.ip_network("2001::/32")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A checked address. ``host`` is a name in lower case, or an IP address without brackets."""

    url: str
    scheme: str
    host: str
    port: int


def check_callback_url(url: str, allowed_hosts: Sequence[str]) -> Target:
    """What of ``url`` can be judged without asking the network.

    ``allowed_hosts`` are names and networks that may be internal. Raises BAD_REQUEST, cause
    ``callback_url``; the message says what is wrong and never repeats a password.
    """
    parts = _split(url)
    if parts.scheme not in _PORTS:
        _refuse("begins with neither http:// nor https://")
    if "@" in parts.netloc:
        _refuse("holds a user name or password")
    if parts.fragment:
        _refuse("has a fragment (#…), which is never sent")
    host = _host(parts)
    if not is_allowed(host, allowed_hosts):
        _check_outside(host)
    return Target(url=url, scheme=parts.scheme, host=host, port=_port(parts))


def vetted_addresses(target: Target, allowed_hosts: Sequence[str], resolve: Resolve) -> tuple[str, ...]:
    """The IP addresses to connect to, and to nothing else: to resolve the name again would undo the check.

    One internal address among them refuses all. ``resolve`` takes host and port and answers with IP
    addresses. Raises BAD_REQUEST as `check_callback_url`; OSError from ``resolve``.
    """
    literal = _literal(target.host)
    found = (target.host,) if literal else tuple(dict.fromkeys(resolve(target.host, target.port)))
    if not found:
        raise OSError(f"{target.host} has no address")
    if not _is_named(target.host, allowed_hosts):
        for text in found:
            address = _literal(text)
            if address is None or not (is_public(address) or is_allowed(text, allowed_hosts)):
                _refuse("leads into an internal network")
    return found


def is_public(address: Address) -> bool:
    """Whether it belongs to a host on the internet, whatever way it is written.

    IPv4 inside IPv6 (mapped, 6to4, NAT64) counts as what it leads to; Teredo is never public.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and not address.is_reserved
    if address.scope_id is not None:
        return False
    inner = _inner_v4(address)
    if inner is not None:
        return is_public(inner)
    return address in _GLOBAL_V6 and address not in _TEREDO and address.is_global


def is_allowed(host: str, allowed_hosts: Sequence[str]) -> bool:
    """Whether the operator named it, or a network it lies in."""
    address = _literal(host)
    return _is_named(host, allowed_hosts) or any(
        address in network for network in _networks(allowed_hosts) if address is not None
    )


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL_LENGTH:
        _refuse(f"is longer than {MAX_URL_LENGTH} characters")
    if not _PLAIN.fullmatch(url):
        _refuse("holds characters that are not plain ASCII; write names as xn--… and the rest as %…")
    try:
        return urlsplit(url)
    except ValueError:
        _refuse("is not an address")


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").lower()
    if parts.netloc.startswith("["):
        address = _literal(host)
        if address is None or "%" in host:
            _refuse("has no IPv6 address in its brackets")
        return str(address)
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        _refuse("has no plain host name")
    if _NUMBER.fullmatch(labels[-1]) and _literal(host) is None:
        _refuse("has a host that is neither a name nor four plain numbers")
    return host


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0 or parts.netloc.endswith(":"):
        _refuse("has no port between 1 and 65535 after its colon")
    return port or _PORTS[parts.scheme]


def _check_outside(host: str) -> None:
    address = _literal(host)
    if address is not None:
        if not is_public(address):
            _refuse("leads into an internal network")
    elif "." not in host or any(f".{host}".endswith(f".{name}") for name in _INTERNAL_NAMES):
        _refuse("names a host of an internal network")


def _literal(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _inner_v4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _is_named(host: str, allowed_hosts: Sequence[str]) -> bool:
    return host in {name.lower() for name in allowed_hosts}


def _networks(
    allowed_hosts: Sequence[str],
) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    for name in allowed_hosts:
        try:
            yield ipaddress.ip_network(name, strict=False)
        except ValueError:
            continue  # a host name


def _refuse(what: str) -> NoReturn:
    raise AutoscorerError("BAD_REQUEST", f"The callback address {what}.", cause="callback_url")
