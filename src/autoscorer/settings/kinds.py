"""How a value of each kind is read: a public value, or ValueError that says what would be right."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from autoscorer.settings.table import Node, SettingRow, row_of

_MEMORY_FORM = "a memory size such as 4Gi or 512Mi (Ki Mi Gi Ti and k m g t: 1024; K M G T: 1000; or bytes)"
_MEMORY = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,9})(?=[KMGTkmgt]))?(|[KMGT]i?|[kmgt])")
_SCALES: dict[str, int] = {"": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _SCALES |= {_letter: 1024**_power, f"{_letter.upper()}i": 1024**_power, _letter.upper(): 1000**_power}
_TOLERATION: Mapping[str, tuple[str, ...]] = {
    "key": (),
    "operator": ("Exists", "Equal"),
    "value": (),
    "effect": ("", "NoSchedule", "PreferNoSchedule", "NoExecute"),
}
_CREDENTIALS = ({"username", "password"}, {"identitytoken"}, {"registrytoken"})
_HOSTLESS = {"unix", "npipe", "sqlite", "memory", "filesystem", "file", "rpc", "socket"}


def parse_memory(value: object) -> int:
    """Bytes of ``4Gi``, ``512m``, ``1.5G`` or a plain number of bytes. Raises ValueError.

    ``Ki Mi Gi Ti`` are powers of 1024 (Kubernetes) and so are lower-case ``k m g t`` (Docker); upper-case
    ``K M G T`` are powers of 1000 (Kubernetes). Part of a byte is dropped; at least one must remain.
    """
    total = _bytes(value)
    if total == 0:
        raise ValueError(_MEMORY_FORM)
    return total


def memory_text(size_bytes: int) -> str:
    """The shortest text that `parse_memory` reads as exactly ``size_bytes``: ``64Gi``."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        if size_bytes and size_bytes % _SCALES[unit] == 0:
            return f"{size_bytes // _SCALES[unit]}{unit}"
    return str(size_bytes)


def _bytes(value: object) -> int:
    """As `parse_memory`, and 0 may be said: a setting's own minimum then decides."""
    total = -1
    if isinstance(value, int) and not isinstance(value, bool):
        total = value
    elif isinstance(value, str) and (match := _MEMORY.fullmatch(value)):
        scale, fraction = _SCALES[match[3]], match[2] or "0"
        total = int(match[1]) * scale + int(fraction) * scale // 10 ** len(fraction)
    if not 0 <= total < 2**63:
        raise ValueError(_MEMORY_FORM)
    return total


def load_yaml(text: str) -> object:
    """What a YAML text says; None for an empty one. Raises ValueError, which never quotes the text."""
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        value = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as exc:
        at = exc.problem_mark
        where = f" in line {at.line + 1}, column {at.column + 1}" if at else ""
        # The problem may quote a piece of the text, and that may be a secret.
        problem = re.sub(r"['\"].*", "…", exc.problem or "", flags=re.DOTALL)
        raise ValueError(f"not YAML{where}: {problem}") from None
    # PyYAML lets slips of its own through: explicit tags (`!!int ""`), impossible dates, deep nesting.
    except (
        yaml.YAMLError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ):
        raise ValueError("not YAML that can be read") from None
    entries = node.value if isinstance(node, yaml.MappingNode) else []
    names = [name.value for name, _ in entries if isinstance(name, yaml.ScalarNode)]
    if len(names) > len(set(names)):
        raise ValueError("a key stands there twice")
    return value


def _text(raw: object, row: SettingRow) -> str:
    right = isinstance(raw, str) and 0 < len(raw) <= 4096 and raw.isprintable()
    if not right or (row.pattern and not re.fullmatch(row.pattern, str(raw))):
        raise ValueError(row.form or "text on one line")
    return str(raw)


def _choice(raw: object, row: SettingRow) -> str:
    for choice in row.choices:
        if isinstance(raw, str) and raw.lower() == choice.lower():
            return choice
    raise ValueError(f"one of {', '.join(row.choices)}")


def _flag(raw: object, row: SettingRow) -> bool:
    word = (
        raw.lower()
        if isinstance(raw, str)
        else str(int(raw))
        if isinstance(raw, int) and raw in (0, 1)
        else ""
    )
    if word not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        raise ValueError("true or false")
    return word in ("true", "yes", "on", "1")


def _integer(raw: object, row: SettingRow) -> int:
    value = int(raw) if isinstance(raw, str) and re.fullmatch(r"[0-9]{1,18}", raw) else raw
    if isinstance(value, bool) or not isinstance(value, int) or not row.minimum <= value <= row.maximum:
        raise ValueError(f"a whole number from {row.minimum} to {row.maximum}")
    return value


def _number(raw: object, row: SettingRow) -> float:
    value = float(raw) if isinstance(raw, str) and re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", raw) else raw
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not row.minimum <= value <= row.maximum
    ):
        raise ValueError(f"a number from {row.minimum} to {row.maximum}")
    return value


def _memory(raw: object, row: SettingRow) -> str | int:
    if not _bytes(row.minimum) <= _bytes(raw) <= _bytes(row.maximum):
        raise ValueError(f"a memory size from {row.minimum} to {row.maximum}")
    assert isinstance(raw, str | int)
    return raw


def _url(raw: object, row: SettingRow) -> str:
    text = _text(raw, row)
    for part in text.split(";"):
        try:
            url = urlsplit(part)
            if url.password and not row.secrecy:
                raise ValueError
            complete = bool(url.hostname) and url.port != 0
        except ValueError:
            raise ValueError(row.form) from None
        if _HOSTLESS & set(url.scheme.split("+")):
            complete = not url.netloc
        elif "postgresql" in url.scheme:  # the folder of its socket may stand for the host
            complete = complete or parse_qs(url.query).get("host", [""])[0].startswith("/")
        if (
            url.scheme not in row.schemes
            or not complete
            or " " in part
            or not part.startswith(f"{url.scheme}://")
        ):
            raise ValueError(f"{row.form} (schemes: {', '.join(row.schemes)})")
    return text


def _structured(raw: object, row: SettingRow) -> object:
    """A list or mapping that the environment spells as JSON or as YAML; anything else as it is."""
    if not isinstance(raw, str) or not raw.lstrip().startswith(("[", "{")):
        return raw
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        pass
    try:
        return load_yaml(raw)
    except ValueError:
        raise ValueError(row.form) from None


def _names(raw: object, row: SettingRow) -> list[str]:
    found = _structured(raw, row)
    if isinstance(found, str):
        found = [part.strip() for part in found.split(",") if part.strip()]
    if not isinstance(found, list):
        raise ValueError(row.form)
    return [_text(item, row) for item in found]


def _networks(raw: object, row: SettingRow) -> list[str]:
    found = _names(raw, row)
    for item in found:
        try:
            is_all = ipaddress.ip_network(item).prefixlen == 0
        except ValueError:
            is_all = True
        if is_all:
            raise ValueError(row.form)
    return found


def _mapping(raw: object, row: SettingRow) -> dict[str, Any]:
    found = _structured(raw, row)
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ValueError(row.form)
    return found


def _labels(raw: object, row: SettingRow) -> dict[str, str]:
    return {_text(key, row): _text(value, row) for key, value in _mapping(raw, row).items()}


def _tolerations(raw: object, row: SettingRow) -> list[dict[str, Any]]:
    found = _structured(raw, row)
    if not isinstance(found, list):
        raise ValueError(row.form)
    return [_toleration(item, row) for item in found]


def _toleration(raw: object, row: SettingRow) -> dict[str, Any]:
    """As Kubernetes has it; what it would refuse in every pod is refused here, once."""
    toleration = _mapping(raw, row)
    seconds = toleration.get("tolerationSeconds", 0)
    texts = {key: value for key, value in toleration.items() if key != "tolerationSeconds"}
    if not texts.keys() <= _TOLERATION.keys() or not isinstance(seconds, int) or isinstance(seconds, bool):
        raise ValueError(row.form)
    for key, value in texts.items():
        if not isinstance(value, str) or (_TOLERATION[key] and value not in _TOLERATION[key]):
            raise ValueError(row.form)
    return toleration


def _resources(raw: object, row: SettingRow) -> dict[str, Any]:
    like = {"cpu": row_of("DEFAULT_CPU"), "memory": row_of("DEFAULT_MEMORY"), "gpus": row_of("DEFAULT_GPU")}
    found = _mapping(raw, row)
    if not found.keys() <= like.keys():
        raise ValueError(row.form)
    return {key: read_value(value, like[key]) for key, value in found.items()}


def _nodes(raw: object, row: SettingRow) -> list[dict[str, Any]]:
    found = _structured(raw, row)
    nodes = [_node(item, row) for item in found] if isinstance(found, list) else None
    if nodes is None or len({node["name"] for node in nodes}) < len(nodes):
        raise ValueError(row.form + ", each name once")
    return nodes


def _node(raw: object, row: SettingRow) -> dict[str, Any]:
    node = _mapping(raw, row)
    labels = _mapping(node.get("labels", {}), row)
    if not {"name", "host"} <= node.keys() <= {"name", "host", "gpus", "labels", "transport"}:
        raise ValueError(row.form)
    try:
        host = _url(node["host"], row_of("DOCKER_HOST"))
    except ValueError:
        raise ValueError(f"{row.form}; each host as in DOCKER_HOST") from None
    return {
        "name": _text(node["name"], row),
        "host": host,
        "gpus": _integer(node.get("gpus", 0), row_of("DEFAULT_GPU")),
        "labels": {_text(key, row): _text(value, row) for key, value in labels.items()},
        **({"transport": _node_transport(node["transport"], row)} if "transport" in node else {}),
    }


def _node_transport(raw: object, row: SettingRow) -> str:
    try:
        return _choice(raw, row_of("DOCKER_TRANSPORT"))
    except ValueError as exc:
        raise ValueError(f"{row.form}; each transport {exc}") from None


def _registries(raw: object, row: SettingRow) -> dict[str, dict[str, str]]:
    """Credentials by registry; one that is spelt wrong would be found out by a pull that is denied."""
    found = _mapping(raw, row)
    for registry, entry in found.items():
        host = urlsplit(registry if "://" in registry else f"//{registry}").netloc
        if not host or not host.isprintable() or " " in host or not isinstance(entry, dict):
            raise ValueError(row.form)
        texts = all(isinstance(value, str) and value for value in entry.values())
        if not texts or not any(needed <= entry.keys() <= needed | {"email"} for needed in _CREDENTIALS):
            raise ValueError(row.form)
    return found


_PARSERS: Mapping[str, Callable[[object, SettingRow], Any]] = {
    "text": _text,
    "path": _text,
    "choice": _choice,
    "flag": _flag,
    "integer": _integer,
    "number": _number,
    "memory": _memory,
    "url": _url,
    "names": _names,
    "networks": _networks,
    "mapping": _mapping,
    "labels": _labels,
    "resources": _resources,
    "nodes": _nodes,
    "registries": _registries,
    "tolerations": _tolerations,
}
_TYPES: Mapping[str, Callable[[Any], Any]] = {
    "path": Path,
    "memory": _bytes,
    "names": tuple,
    "networks": tuple,
    "tolerations": tuple,
    "nodes": lambda nodes: tuple(Node(**node) for node in nodes),
}


def read_value(raw: object, row: SettingRow) -> Any:
    """The public value of a setting from what the file or the environment holds.

    Raises ValueError that says what would be right and does not repeat what was given.
    """
    return _PARSERS[row.kind](raw, row)


def typed_value(value: Any, row: SettingRow) -> Any:
    """The form `Settings` holds of a value that `read_value` gave; None stays None."""
    convert = _TYPES.get(row.kind)
    return convert(value) if convert and value is not None else value
