"""Configuration: config.yaml under the environment, checked as a whole, frozen once it is right.

    Config(path).settings    frozen typed `Settings`, the form all other code takes
    Config(path).validate()  every fault at once; .warnings(), .dump() with secrets masked, .get(key)
    setting_rows()           the table of keys: kind, default, range, descriptions (en, zh)

A façade over ``autoscorer.settings``. No other module reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from autoscorer.settings.checks import (
    DEFAULT,
    STRICT_SECURITY_OPTS,
    ConfigFault,
    Found,
    doubts,
    relations,
    shorten,
)
from autoscorer.settings.kinds import load_yaml, memory_text, parse_memory, read_value
from autoscorer.settings.secrets import MASK, mask_secrets, mask_text, mask_url
from autoscorer.settings.table import Node, SettingRow, Settings, setting_rows
from autoscorer.utils.artifacts import open_regular
from autoscorer.utils.errors import AutoscorerError

__all__ = [
    "Config",
    "ConfigFault",
    "Node",
    "SettingRow",
    "Settings",
    "mask_secrets",
    "memory_text",
    "parse_memory",
    "setting_rows",
]

DEFAULT_FILE = "config.yaml"
FILE_VARIABLE = "AUTOSCORER_CONFIG"
_MAX_FILE_BYTES = 2**20
_ENVIRONMENT = "environment"


class Config:
    """The configuration of one process. Reads file and environment once, at the first question.

    ``path`` may be absent. Without one, the file is what ``AUTOSCORER_CONFIG`` names (then it must be
    there), else ``config.yaml`` in the working directory. A variable of a key's name overrides the file;
    an empty one counts as not set. Relative paths start at the file's folder, in a variable at the
    working directory.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        must_exist: bool = False,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        named = self._environ.get(FILE_VARIABLE, "") if path is None else ""
        self._must_exist = bool(named) or must_exist
        self.path = Path(path or named or DEFAULT_FILE)

    @cached_property
    def settings(self) -> Settings:
        """All settings, typed. Raises AutoscorerError CONFIG_VALIDATION_ERROR when any is not valid."""
        _refuse(self.validate())
        values = {found.row.field: found.typed for found in self._found.values()}
        if not values["allow_weaker_security"]:
            values["security_opts"] = tuple(
                filter(STRICT_SECURITY_OPTS.__contains__, values["security_opts"])
            )
        return Settings(**values)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``; when it is not set ``default``, else the table's own.

        An unknown key gives ``default``. Raises CONFIG_VALIDATION_ERROR when the file cannot be read
        or this value is not valid.
        """
        _refuse(self._file[1])
        found = self._found.get(key)
        if found is None:
            return default
        _refuse([found.fault] if found.fault else [])
        return default if found.source == DEFAULT and default is not None else found.value

    def get_nested(self, *keys: str, default: Any = None) -> Any:
        """A value inside a mapping: ``get_nested("K8S_DEFAULT_RESOURCES", "cpu", default=2)``."""
        value = self.get(keys[0])
        for key in keys[1:]:
            if not isinstance(value, Mapping) or key not in value:
                return default
            value = value[key]
        return default if value is None else value

    def validate(self) -> list[ConfigFault]:
        """Every fault there is; an empty list when the configuration may be used."""
        faults = [found.fault for found in self._found.values() if found.fault]
        return [*self._file[1], *faults, *relations(self._valid), *self._unknown_keys()]

    def warnings(self) -> list[str]:
        """What is valid and yet worth a thought, each naming its key."""
        return list(doubts(self._valid))

    def dump(self) -> dict[str, Any]:
        """Every key and its value in effect, secrets masked; a value that is not valid as in its fault."""
        return {key: _shown(found) for key, found in self._found.items()}

    @cached_property
    def _file(self) -> tuple[dict[str, Any], list[ConfigFault]]:
        """The file's keys and values, and what is wrong with it as a whole."""
        expected = "a readable YAML file of `KEY: value` lines"
        try:
            with os.fdopen(open_regular(self.path, follow_links=True), "rb") as file:
                content = file.read(_MAX_FILE_BYTES + 1)
            if len(content) > _MAX_FILE_BYTES:
                raise ValueError("more than 1 MiB")
            values = load_yaml(content.decode("utf-8-sig")) or {}
            if not isinstance(values, dict):
                raise ValueError("YAML, but no mapping")
        except FileNotFoundError:
            given = "no such file"
            if not self._must_exist:
                return {}, []
        except UnicodeDecodeError:
            given = "text that is not UTF-8"
        except OSError as exc:
            given = exc.strerror or "an unreadable file"
        except ValueError as exc:
            given = str(exc)
        else:
            return values, []
        return {}, [ConfigFault(key=self.path.name, source="file", given=given, expected=expected)]

    @cached_property
    def _found(self) -> dict[str, Found]:
        return {row.key: self._find(row) for row in setting_rows()}

    @cached_property
    def _valid(self) -> dict[str, Found]:
        return {key: found for key, found in self._found.items() if found.fault is None}

    def _find(self, row: SettingRow) -> Found:
        raw: object = self._environ.get(row.key) or None
        source = _ENVIRONMENT
        if raw is None:
            raw, source = self._file[0].get(row.key), self.path.name
        if raw is None:
            raw, source = row.default, DEFAULT
        if raw is None:
            return Found(row=row, source=source)
        try:
            value = read_value(raw, row)
        except ValueError as exc:
            given = MASK if row.secrecy else shorten(raw)
            fault = ConfigFault(key=row.key, source=source, given=given, expected=str(exc))
            return Found(row=row, source=source, fault=fault)
        if row.kind == "path":
            value = self._absolute(value, source)
        return Found(row=row, source=source, value=value)

    def _absolute(self, path: str, source: str) -> str:
        if path == "~" or path.startswith("~/"):
            return str(Path(self._environ.get("HOME") or "/") / path[2:])
        base = Path.cwd() if source == _ENVIRONMENT else self.path.absolute().parent
        return str(base / path)

    def _unknown_keys(self) -> Iterator[ConfigFault]:
        return (self._unknown_key(name) for name in self._file[0] if name not in self._found)

    def _unknown_key(self, name: object) -> ConfigFault:
        from difflib import get_close_matches

        # Its value is not shown: under a misspelt key there may be a secret.
        shown = mask_text(name)[:60] if isinstance(name, str) else shorten(name)
        near = get_close_matches(shown.upper(), self._found, n=1)
        expected = f"the key {near[0]}" if near else "a key that `autoscorer config dump` lists"
        return ConfigFault(key=shown, source=self.path.name, given="an unknown key", expected=expected)


def _refuse(faults: list[ConfigFault]) -> None:
    if faults:
        raise AutoscorerError(
            "CONFIG_VALIDATION_ERROR",
            "; ".join(map(str, faults)),
            {"faults": [fault.to_dict() for fault in faults]},
            cause="configuration",
        )


def _shown(found: Found) -> Any:
    if found.fault:
        return found.fault.given
    if found.value is None or not found.row.secrecy:
        return mask_secrets(found.value)
    return mask_url(found.value) if found.row.secrecy == "url" else MASK
