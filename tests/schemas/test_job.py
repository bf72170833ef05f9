"""meta.json: the reference example, and each field wrong in turn."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autoscorer.schemas.job import JobSpec
from autoscorer.utils.errors import AutoscorerError

# SPEC J2, as written.
REFERENCE_EXAMPLE = r"""{"job_id": "job-demo-001", "task_type": "classification", "scorer": "classification_f1",
 "input_uri": "file://./input", "output_uri": "file://./output", "time_limit": 60,
 "resources": {"cpu": 1, "memory": "1Gi", "gpus": 0},
 "container": {"image": "python:3.10-slim",
  "cmd": ["python", "-c", "import csv,os;os.makedirs('output',exist_ok=True);open('output/pred.csv','w').write(open('input/gt.csv').read())"]}}"""  # noqa: E501

MINIMAL: dict[str, Any] = {"job_id": "a", "task_type": "t", "scorer": "s"}


def faults_of(value: Any) -> list[dict[str, str]]:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(AutoscorerError) as caught:
        JobSpec.parse(content)
    assert caught.value.code == "CONFIG_VALIDATION_ERROR"
    assert caught.value.blame == "organiser"
    faults: list[dict[str, str]] = caught.value.details["faults"]
    return faults


def test_the_reference_example_parses_unchanged() -> None:
    spec = JobSpec.parse(REFERENCE_EXAMPLE.encode())
    assert spec.job_id == "job-demo-001"
    assert spec.resources.cpu == 1.0
    assert spec.container is not None
    assert spec.container.cmd[:2] == ["python", "-c"]


def test_time_limit_defaults_to_1800_seconds() -> None:
    assert JobSpec.model_validate(MINIMAL).time_limit == 1800


@pytest.mark.parametrize("missing", ["job_id", "task_type", "scorer"])
def test_a_required_field_that_is_missing_is_named(missing: str) -> None:
    value = {key: text for key, text in MINIMAL.items() if key != missing}
    assert [fault["field"] for fault in faults_of(value)] == [missing]


CONTAINER = {"image": "python:3.10-slim", "cmd": ["true"]}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"job_id": ""}, "job_id"),
        ({"job_id": "../other"}, "job_id"),
        ({"job_id": "a/b"}, "job_id"),
        ({"job_id": ".hidden"}, "job_id"),
        ({"job_id": "x" * 129}, "job_id"),
        ({"job_id": 7}, "job_id"),
        ({"job_id": None}, "job_id"),
        ({"job_id": "a\n"}, "job_id"),
        ({"task_type": ""}, "task_type"),
        ({"task_type": ["t"]}, "task_type"),
        ({"scorer": "a b"}, "scorer"),
        ({"scorer": "../x"}, "scorer"),
        ({"scorer": True}, "scorer"),
        ({"input_uri": ""}, "input_uri"),
        ({"input_uri": 3}, "input_uri"),
        ({"input_uri": "file://a\u0000b"}, "input_uri"),
        ({"output_uri": {}}, "output_uri"),
        ({"time_limit": 0}, "time_limit"),
        ({"time_limit": -5}, "time_limit"),
        ({"time_limit": 1.5}, "time_limit"),
        ({"time_limit": True}, "time_limit"),
        ({"time_limit": "60"}, "time_limit"),
        ({"resources": []}, "resources"),
        ({"resources": {"cpu": 0}}, "resources.cpu"),
        ({"resources": {"cpu": -1}}, "resources.cpu"),
        ({"resources": {"cpu": True}}, "resources.cpu"),
        ({"resources": {"cpu": "2"}}, "resources.cpu"),
        ({"resources": {"memory": "1Xi"}}, "resources.memory"),
        ({"resources": {"memory": "-1Gi"}}, "resources.memory"),
        ({"resources": {"memory": "NaN"}}, "resources.memory"),
        ({"resources": {"memory": 1024}}, "resources.memory"),
        ({"resources": {"memory": True}}, "resources.memory"),
        ({"resources": {"gpus": -1}}, "resources.gpus"),
        ({"resources": {"gpus": True}}, "resources.gpus"),
        ({"resources": {"gpus": 1.0}}, "resources.gpus"),
        ({"container": {**CONTAINER, "image": ""}}, "container.image"),
        ({"container": {**CONTAINER, "image": "a b"}}, "container.image"),
        ({"container": {"cmd": []}}, "container.image"),
        ({"container": {**CONTAINER, "cmd": "python x"}}, "container.cmd"),
        ({"container": {**CONTAINER, "cmd": ["a", 1]}}, "container.cmd.1"),
        ({"container": {**CONTAINER, "cmd": ["a\u0000"]}}, "container.cmd.0"),
        ({"container": {**CONTAINER, "env": {"A=B": "x"}}}, "container.env.A=B.[key]"),
        ({"container": {**CONTAINER, "env": {"A": 1}}}, "container.env.A"),
        ({"container": {**CONTAINER, "shm_size": "much"}}, "container.shm_size"),
        ({"container": {**CONTAINER, "gpus": 1}}, "meta.json"),
        ({"container": {**CONTAINER, "network_policy": ""}}, "container.network_policy"),
        ({"scorer_params": [1]}, "scorer_params"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else value,
)
def test_each_field_wrong_in_turn_is_named(change: dict[str, Any], field: str) -> None:
    assert [fault["field"] for fault in faults_of({**MINIMAL, **change})] == [field]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_uri": ""}, 'is "": too short, at least 1'),
        ({"input_uri": "file://./" + "a" * 1024}, "too long, at most 1024"),
        ({"job_id": "a b"}, "should match pattern"),
        ({"time_limit": "60"}, "should be a valid integer"),
    ],
)
def test_what_is_wrong_is_told_in_words_about_the_value(change: dict[str, Any], message: str) -> None:
    (fault,) = faults_of({**MINIMAL, **change})
    assert message in fault["message"]
    assert not {"Input", "String", "Value", "validation"} & set(fault["message"].split())


def test_every_fault_is_named_at_once() -> None:
    value = {"job_id": "../x", "task_type": 1, "time_limit": -1, "resources": {"cpu": 0, "memory": "?"}}
    fields = {fault["field"] for fault in faults_of(value)}
    assert fields == {"job_id", "task_type", "scorer", "time_limit", "resources.cpu", "resources.memory"}


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [("scorrer", "did you mean 'scorer'?"), ("timelimit", "did you mean 'time_limit'?")],
)
def test_an_unknown_key_is_an_error_with_a_suggestion(key: str, suggestion: str) -> None:
    (fault,) = faults_of({**MINIMAL, key: 1})
    assert (fault["field"], fault["suggestion"]) == (key, suggestion)


def test_an_unknown_key_of_an_inner_object_is_suggested_from_there() -> None:
    (fault,) = faults_of({**MINIMAL, "resources": {"gpu": 1}})
    assert fault["suggestion"] == "did you mean 'gpus'?"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"time_limit": NaN}', "NaN is not a JSON number"),
        (b'{"a": 1, "a": 2}', "appears twice"),
        (b"[" * 200_000, "nested too deeply"),
        (b"[1]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_what_is_no_job_spec_at_all_is_said_so(content: bytes, word: str) -> None:
    assert word in faults_of(content)[0]["message"]


@pytest.mark.parametrize("rest", ['"resources": {"cpu": 1e400}', '"scorer_params": {"beta": [-1e400]}'])
def test_infinity_by_overflow_is_refused(rest: str) -> None:
    content = json.dumps(MINIMAL)[:-1] + f", {rest}}}"
    assert "1e400 is beyond every number" in faults_of(content.encode())[0]["message"]


def test_a_byte_order_mark_is_fine() -> None:
    assert JobSpec.parse(b"\xef\xbb\xbf" + json.dumps(MINIMAL).encode()).job_id == "a"
