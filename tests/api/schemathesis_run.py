"""The whole OpenAPI of an app under schemathesis, over a real socket: what is asked, and what it finds."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished
from schemathesis.transport.serialization import serialize_binary

PHASES = ("examples", "coverage", "fuzzing", "stateful")
# Its data of one address tries names on another: an artifact's is none of an organisation.
# Which backends, scorers and callback addresses there are is configuration; no schema tells a good archive.
CONFIGURED = (
    *("/run", "/score", "/pipeline", "/submit", "/api/v1/jobs"),
    *("/scorers/test", "/api/v1/workspaces", "/api/v1/organisations"),
)

ARCHIVES = ("application/x-tar", "application/gzip", "application/zip")


@schemathesis.serializer(*ARCHIVES)
def _archive(_context: Any, value: Any) -> Any:
    return serialize_binary(value)


@dataclass
class Found:
    """``faults`` by operation and check, each with one example; ``statuses`` of all answers."""

    faults: dict[tuple[str, str], str] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    operations: set[str] = field(default_factory=set)

    def said(self) -> str:
        return "\n".join(f"{operation} {check}: {text}" for (operation, check), text in self.faults.items())


def with_values(document: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """The document with an example of everything that is named in ``values``, so that some of it is there."""
    given: dict[str, Any] = copy.deepcopy(dict(document))
    operations = [operation for path in given["paths"].values() for operation in path.values()]
    for parameter in (parameter for operation in operations for parameter in operation.get("parameters", ())):
        if parameter["name"] in values:
            parameter["example"] = values[parameter["name"]]
    for schema in given.get("components", {}).get("schemas", {}).values():
        for name, stated in schema.get("properties", {}).items():
            if name in values and "pattern" not in stated:
                stated["examples"] = [values[name]]
    return given


def examine(
    document: Mapping[str, Any],
    *,
    url: str,
    headers: Mapping[str, str],
    phases: Iterable[str] = PHASES,
    examples: int,
    only: Sequence[str] | None = None,
) -> Found:
    """Ask ``url`` all that ``document`` describes, and all that it rules out; the same at every call."""
    chosen = set(phases)
    is_chosen = {phase: {"enabled": phase in chosen} for phase in PHASES}
    config = SchemathesisConfig.from_dict(
        {
            "base-url": url,
            "seed": 1,
            "request-timeout": 120,
            "headers": dict(headers),
            "continue-on-failure": True,
            "generation": {
                "deterministic": True,
                "max-examples": examples,
                "no-shrink": True,
                "database": "none",
            },
            "phases": is_chosen,
            "operations": [
                {"include-path": path, "checks": {"positive_data_acceptance": {"enabled": False}}}
                for path in CONFIGURED
            ],
        }
    )
    schema = schemathesis.openapi.from_dict(dict(document), config=config)
    asked = schema.include(path=list(only)) if only is not None else schema
    found = Found()
    for event in from_schema(asked).execute():
        if isinstance(event, ScenarioFinished):
            _note(found, event)
        elif isinstance(event, NonFatalError | FatalError):
            found.faults[getattr(event, "label", ""), "error"] = str(getattr(event, "value", event))
    return found


def _note(found: Found, event: ScenarioFinished) -> None:
    found.operations.add(event.label or "")
    for interaction in event.recorder.interactions.values():
        if interaction.response is not None:
            found.statuses[interaction.response.status_code] += 1
    for case_id, checks in event.recorder.checks.items():
        for check in checks:
            if check.failure_info is None:
                continue
            case = event.recorder.cases[case_id].value
            answered = event.recorder.interactions[case_id].response
            body = answered.content[:300] if answered is not None else b""
            label = f"{case.method} {case.path}"
            message = " ".join(check.failure_info.failure.message.split())[:300]
            found.faults.setdefault((label, check.name), f"{message} | {case!r:.600} | {body!r}")
