"""What a message may be: the name of an action and the id of a job. Everything else is thrown away."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoscorer.store.records import Action

MAX_BYTES = 4096
_TASK_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CONTENT_TYPE, CONTENT_ENCODING = "application/json", "utf-8"
_ACTIONS = frozenset(action.value for action in Action)


class ForgedMessageError(Exception):
    """Raised for a message that the releaser cannot have sent."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a message says, and all that is believed of it."""

    action: Action
    task_id: str

    def headers(self, message_id: str) -> dict[str, Any]:
        """The headers Celery needs, and none that it would obey: no time, no limits, nothing to do after."""
        return {"lang": "py", "task": self.action.value, "id": message_id, "argsrepr": self.task_id}

    def body(self) -> str:
        """The body of Celery's protocol 2 with one argument, no keywords, no callbacks, no chain."""
        return json.dumps([[self.task_id], {}, {}])


def read(headers: object, body: object, *, content_type: object, content_encoding: object) -> Order:
    """The order in a message. Raises ForgedMessageError."""
    if content_type != CONTENT_TYPE or str(content_encoding).lower() != CONTENT_ENCODING:
        raise ForgedMessageError("it is not JSON in UTF-8")
    if not isinstance(headers, Mapping) or headers.get("compression"):
        raise ForgedMessageError("it has no plain headers")
    action = headers.get("task")
    if not isinstance(action, str) or action not in _ACTIONS:
        raise ForgedMessageError("it names no task of ours")
    return Order(action=Action(action), task_id=_task_id(body))


def _task_id(body: object) -> str:
    if not isinstance(body, str | bytes | bytearray | memoryview) or len(body) > MAX_BYTES:
        raise ForgedMessageError("its body is no short text")
    try:
        document = json.loads(bytes(body) if isinstance(body, memoryview) else body)
    except (ValueError, RecursionError) as exc:
        raise ForgedMessageError("its body is no JSON document") from exc
    match document:
        case [[str(task_id)], dict(keywords), *_] if not keywords and _TASK_ID.fullmatch(task_id):
            return task_id
    raise ForgedMessageError("its body is not the id of a job")
