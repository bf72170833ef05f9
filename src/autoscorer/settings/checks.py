"""What is wrong or doubtful about settings taken together, and what a fault says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autoscorer.settings.kinds import typed_value
from autoscorer.settings.secrets import mask_text
from autoscorer.settings.table import SettingRow, row_of, setting_rows

DEFAULT = "default"
# What is known not to weaken a container; any other option may (a profile, a label, "unconfined").
STRICT_SECURITY_OPTS = {
    "no-new-privileges",
    "no-new-privileges:true",
    "no-new-privileges=true",
    "apparmor=docker-default",
}
CLIENT_CERTIFICATE = ("cert.pem", "key.pem")
IN_CLUSTER_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_RESOURCE_MAXIMA = {"cpu": "MAX_CPU", "memory": "MAX_MEMORY", "gpus": "MAX_GPUS"}


@dataclass(frozen=True, kw_only=True)
class ConfigFault:
    """A value that is not right: where it came from, what was given (never a secret), what would be right."""

    key: str
    source: str
    given: str
    expected: str

    def __str__(self) -> str:
        return f"{self.key} ({self.source}): got {self.given}, expected {self.expected}"

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A key's public value and where it was found; when there is a ``fault``, there is no value."""

    row: SettingRow
    source: str
    value: Any = None
    fault: ConfigFault | None = None

    @property
    def typed(self) -> Any:
        return typed_value(self.value, self.row)


def shorten(raw: object) -> str:
    """A short text for a given value, which may be of any type and size; secrets in a text are masked."""
    if isinstance(raw, str):
        text = json.dumps(mask_text(raw[:4096]))
        return text if len(text) <= 80 else f"{text[:79]}…"
    if isinstance(raw, bool | float) or (isinstance(raw, int) and raw.bit_length() <= 64):
        return str(raw).lower()
    return {"int": "a huge number", "dict": "a mapping", "list": "a list"}.get(
        type(raw).__name__, "such a value"
    )


def relations(valid: Mapping[str, Found]) -> Iterator[ConfigFault]:
    """Faults between values that are each right."""
    for row in setting_rows():
        if row.at_most in valid and row.key in valid:
            yield from _beyond(row.key, valid[row.key], valid[row.at_most])
    yield from _resource_relations(valid)
    verify = valid.get("DOCKER_TLS_VERIFY")
    engines = _engine_addresses(valid)
    if engines and verify and verify.value and not any(at.startswith("tcp://") for at in engines.values()):
        expected = "false, or a DOCKER_HOST such as tcp://host:2376"
        yield ConfigFault(key="DOCKER_TLS_VERIFY", source=verify.source, given="true", expected=expected)
    if "DOCKER_CERT_PATH" in valid and valid["DOCKER_CERT_PATH"].value:
        yield from _certificate_relations(valid["DOCKER_CERT_PATH"], verify)
    if "K8S_ENABLED" in valid and valid["K8S_ENABLED"].value:
        yield from _kubernetes_relations(valid)
        yield from _transport_relations(valid)


def _engine_addresses(valid: Mapping[str, Found]) -> dict[str, str]:
    """Where the engines are, by the setting that says so: those of NODES, if there are any."""
    nodes = valid["NODES"].value if "NODES" in valid else ()
    found = {f"NODES.{node['name']}": str(node["host"]) for node in nodes or ()}
    if found or "DOCKER_HOST" not in valid:
        return found
    return {"DOCKER_HOST": str(valid["DOCKER_HOST"].value)}


def _certificate_relations(folder: Found, verify: Found | None) -> Iterator[ConfigFault]:
    if verify and not verify.value:
        yield ConfigFault(
            key="DOCKER_CERT_PATH",
            source=folder.source,
            given=shorten(folder.value),
            expected="DOCKER_TLS_VERIFY: true with it",
        )
    lacking = [name for name in CLIENT_CERTIFICATE if not (folder.typed / name).is_file()]
    if lacking:
        yield ConfigFault(
            key="DOCKER_CERT_PATH",
            source=folder.source,
            given=shorten(folder.value),
            expected=f"a folder with {' and '.join(lacking)}",
        )


def _beyond(key: str, found: Found, bound: Found) -> Iterator[ConfigFault]:
    if found.typed > bound.typed:
        expected = f"at most {bound.row.key}, which is {bound.value}"
        yield ConfigFault(key=key, source=found.source, given=str(found.value), expected=expected)


def _resource_relations(valid: Mapping[str, Found]) -> Iterator[ConfigFault]:
    resources = valid.get("K8S_DEFAULT_RESOURCES")
    for name, value in resources.value.items() if resources else ():
        bound = _RESOURCE_MAXIMA[name]
        if resources and bound in valid:
            entry = Found(row=row_of(bound), source=resources.source, value=value)
            yield from _beyond(f"K8S_DEFAULT_RESOURCES.{name}", entry, valid[bound])


def _kubernetes_relations(valid: Mapping[str, Found]) -> Iterator[ConfigFault]:
    # A part that is there and wrong is a fault already; it is not missing as well.
    absent = {key for key, found in valid.items() if not found.value}
    if {"K8S_API", "K8S_KUBECONFIG"} <= absent:
        if IN_CLUSTER_TOKEN.is_file():  # a pod's own service account, where there is nothing to set
            return
        expected = "K8S_API with K8S_TOKEN, or K8S_KUBECONFIG, because K8S_ENABLED is true"
        yield ConfigFault(key="K8S_API", source=DEFAULT, given="nothing", expected=expected)
    elif {"K8S_TOKEN", "K8S_KUBECONFIG"} <= absent:
        expected = "the token for K8S_API, or K8S_KUBECONFIG instead"
        yield ConfigFault(key="K8S_TOKEN", source=DEFAULT, given="nothing", expected=expected)
    for key in ("K8S_KUBECONFIG", "K8S_CA_CERT"):
        found = valid.get(key)
        if found and found.value and not found.typed.is_file():
            yield ConfigFault(
                key=key, source=found.source, given=shorten(found.value), expected="a file that exists"
            )


def _transport_relations(valid: Mapping[str, Found]) -> Iterator[ConfigFault]:
    transport = valid.get("K8S_TRANSPORT")
    if transport is None or transport.value != "bind":
        return
    for key in ("K8S_WORKSPACE_CLAIM", "K8S_WORKSPACE_MOUNT"):
        if key in valid and not valid[key].value:
            expected = "a value with it, because K8S_TRANSPORT is bind"
            yield ConfigFault(key=key, source=DEFAULT, given="nothing", expected=expected)
    mount = valid.get("K8S_WORKSPACE_MOUNT")
    if mount and mount.value and not mount.typed.is_dir():
        expected = "a folder that exists"
        yield ConfigFault(
            key=mount.row.key, source=mount.source, given=shorten(mount.value), expected=expected
        )


def doubts(valid: Mapping[str, Found]) -> Iterator[str]:
    """What is valid and yet worth a warning, each naming its key."""
    values = {key: found.value for key, found in valid.items() if found.value}
    effect = "in effect" if "ALLOW_WEAKER_SECURITY" in values else "ignored without ALLOW_WEAKER_SECURITY"
    for option in values.get("SECURITY_OPTS", ()):
        if option not in STRICT_SECURITY_OPTS:
            yield f"SECURITY_OPTS: {option} may weaken every container ({effect})"
    if "host" in values.get("ALLOWED_NETWORKS", ()):
        yield "ALLOWED_NETWORKS: host lets a job reach everything this machine can reach"
    for name, address in _engine_addresses(valid).items():
        if address.startswith("tcp://") and "DOCKER_TLS_VERIFY" not in values:
            yield f"{name}: tcp without DOCKER_TLS_VERIFY: whoever reaches that port is root there"
    if values.get("K8S_API", "").startswith("http://"):
        yield "K8S_API: http sends K8S_TOKEN unencrypted"
    for key in ("WORKSPACE_ROOT", "SCORERS_DIR"):
        if key in values and not valid[key].typed.is_dir():
            yield f"{key}: there is no such folder"
    if "LOG_DIR" in values and not _can_write(valid["LOG_DIR"].typed):
        yield "LOG_DIR: cannot be written, so there is no service log"


def _can_write(folder: Path) -> bool:
    """Whether ``folder`` can be written to, or be made; nothing is made here."""
    nearest = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), Path("/"))
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
