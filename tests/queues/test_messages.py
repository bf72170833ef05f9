"""What is believed of a message: the id of a job and the name of an action, however the rest was made."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscorer.queues.messages import ForgedMessageError, Order, read
from autoscorer.store.records import Action

TASK_ID = "0b8f7a52-6a4e-4a3c-9d7b-0f3a1f0c9b11"
BODY = json.dumps([[TASK_ID], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
HEADERS = {"task": "score", "id": "x", "lang": "py"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


def said(
    headers: object = HEADERS,
    body: object = BODY,
    *,
    kind: object = "application/json",
    coded: object = "utf-8",
) -> Order:
    return read(headers, body, content_type=kind, content_encoding=coded)


@pytest.mark.parametrize("action", list(Action))
def test_what_the_releaser_sends_is_understood(action: Action) -> None:
    assert said({"task": action.value}) == Order(action=action, task_id=TASK_ID)
    assert said({"task": action.value}, BODY.encode()) == Order(action=action, task_id=TASK_ID)
    assert said({"task": action.value}, memoryview(BODY.encode())).task_id == TASK_ID


@pytest.mark.parametrize(
    "headers",
    [
        None,
        "score",
        [],
        {},
        {"task": None},
        {"task": ["score"]},
        {"task": {}},
        {"task": "celery.map"},
        {"task": "celery.backend_cleanup"},
        {"task": "score", "compression": "application/x-gzip"},
    ],
)
def test_headers_that_name_no_task_of_ours_are_forged(headers: object) -> None:
    with pytest.raises(ForgedMessageError):
        said(headers)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [TASK_ID, TASK_ID],
        [None],
        [7],
        [[TASK_ID]],
        [{"task_id": TASK_ID}],
        [TASK_ID.upper()],
        [TASK_ID + "\n"],
        [TASK_ID + "\0"],
        ["../../etc/passwd"],
        ["x' OR '1'='1"],
        [""],
        ["0" * 36],
        {"0": TASK_ID},
        TASK_ID,
    ],
)
def test_arguments_that_are_not_one_id_are_forged(arguments: object) -> None:
    with pytest.raises(ForgedMessageError):
        said(body=json.dumps([arguments, {}, {}]))


@pytest.mark.parametrize(
    "body",
    [
        None,
        7,
        "",
        "nonsense",
        b"\xff\xfe",
        "[" * 100_000,
        "{}",
        "[]",
        "null",
        f'["{TASK_ID}"]',
        " " * 5000 + BODY,
    ],
)
def test_bodies_that_are_no_call_are_forged(body: object) -> None:
    with pytest.raises(ForgedMessageError):
        said(body=body)


def test_keywords_are_forged() -> None:
    with pytest.raises(ForgedMessageError):
        said(body=json.dumps([[TASK_ID], {"task_id": TASK_ID}, {}]))


@pytest.mark.parametrize(
    ("kind", "coded"),
    [
        ("application/x-python-serialize", "binary"),
        ("application/x-python-serialize", "utf-8"),
        ("application/x-yaml", "utf-8"),
        ("application/json", "binary"),
        (None, None),
        ({}, []),
    ],
)
def test_what_is_no_json_is_forged(kind: object, coded: object) -> None:
    with pytest.raises(ForgedMessageError):
        said(kind=kind, coded=coded)


def test_nothing_else_of_a_message_is_passed_on() -> None:
    orders = {"callbacks": [{"task": "run"}], "chain": [{"task": "run"}], "errbacks": [{"task": "run"}]}
    forged = {**HEADERS, "eta": "2999-01-01", "expires": "1999-01-01", "timelimit": [1, 1], "shadow": "x"}
    order = said(forged, json.dumps([[TASK_ID], {}, orders]))
    assert json.loads(order.body()) == [[TASK_ID], {}, {}]
    assert set(order.headers("id")) == {"lang", "task", "id", "argsrepr"}


@given(headers=JSON, body=JSON, kind=JSON, coded=JSON)
def test_whatever_it_is_it_is_forged_or_one_id(headers: Any, body: Any, kind: Any, coded: Any) -> None:
    for text in (body, json.dumps(body), json.dumps([[body], {}, {}])):
        with pytest.raises(ForgedMessageError):
            said(headers, text, kind=kind, coded=coded)
        with pytest.raises(ForgedMessageError):
            said(body=text)
