"""Which node gets a job, as tables: free GPUs, then jobs, then the order of NODES."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscorer.ending import goes_again
from autoscorer.executor.docker.presence import gives_way, least_used, running_of
from autoscorer.executor.nodes.ranking import (
    Candidate,
    Refusal,
    Request,
    Running,
    busy,
    nothing_fits,
    ranked,
    set_aside,
    unfit,
)
from autoscorer.utils.config import Node
from autoscorer.utils.errors import AutoscorerError


def candidate(name: str, *, gpus: int = 0, used: int = 0, jobs: int = 0, order: int = 0) -> Candidate:
    node = Node(name=name, host=f"tcp://{name}:2376", gpus=gpus)
    return Candidate(node=node, order=order, running=Running(jobs=jobs, gpus=used))


def asks(gpus: int, *, number: int = 0, failed: tuple[str, ...] = ()) -> Request:
    error = AutoscorerError("EXEC_ERROR", "as told")
    return Request(number=number, gpus=gpus, attempt="", failed=dict.fromkeys(failed, error))


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([candidate("a", gpus=2), candidate("b", gpus=4, order=1)], "b"),
        # 4 - 3 = 1 free of b, 2 free of a
        ([candidate("a", gpus=2), candidate("b", gpus=4, used=3, order=1)], "a"),
        ([candidate("a", gpus=1, jobs=2), candidate("b", gpus=1, jobs=1, order=1)], "b"),
        ([candidate("a", jobs=1), candidate("b", jobs=1, order=1)], "a"),
        # GPUs go before jobs: the busier node has more of them free
        ([candidate("a"), candidate("b", gpus=1, jobs=9, order=1)], "b"),
        # given out beyond what there is, as when NODES was changed meanwhile: none free, not fewer
        ([candidate("a", gpus=1, used=5, jobs=9), candidate("b", jobs=1, order=1)], "b"),
    ],
)
def test_the_best_node_has_most_gpus_free_then_fewest_jobs(rows: list[Candidate], best: str) -> None:
    assert ranked(rows)[0].node.name == best


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), max_size=6))
def test_the_order_in_which_nodes_answer_does_not_matter(rows: list[tuple[int, int, int]]) -> None:
    made = [candidate(str(n), gpus=g, used=u, jobs=j, order=n) for n, (g, u, j) in enumerate(rows)]
    shuffled = random.Random(0).sample(made, len(made))
    assert ranked(shuffled) == ranked(made)


def test_a_node_without_the_label_or_the_gpus_never_gets_the_job() -> None:
    node = Node(name="a", host="tcp://a:1", gpus=1, labels={"zone": "a"})
    assert unfit(node, asks(1), selector={"zone": "a"}) is None
    for gpus, selector in ((2, {}), (0, {"zone": "b"}), (0, {"disk": "ssd"})):
        refused = unfit(node, asks(gpus), selector=selector)
        assert refused is not None
        assert not refused.passes


@pytest.mark.parametrize(
    ("earlier", "free"),
    [
        ([], {"a": 3, "b": 2}),
        ([asks(4)], {"a": 0, "b": 2}),  # a is nearer to 4 free; b's 2 are for whoever can use them
        ([asks(2)], {"a": 1, "b": 2}),
        ([asks(4, failed=("a",))], {"a": 3, "b": 0}),
        ([asks(8)], {"a": 3, "b": 2}),  # no node of these will ever run it
        ([asks(0)], {"a": 3, "b": 2}),
        # The first has a kept, then b is the freer one; in whatever order they are given
        ([asks(1, number=2), asks(4, number=1)], {"a": 0, "b": 1}),
        ([asks(4, number=1), asks(4, number=2), asks(1, number=3)], {"a": 0, "b": 0}),
    ],
)
def test_of_those_who_wait_longer_each_has_the_node_kept_that_is_nearest_to_its_need(
    earlier: list[Request], free: dict[str, int]
) -> None:
    rows = [candidate("a", gpus=4, used=1), candidate("b", gpus=4, used=2, order=1)]
    assert {row.node.name: row.free_gpus for row in set_aside(rows, earlier)} == free


def test_gpus_that_are_given_out_are_waited_for() -> None:
    refused = busy(candidate("a", gpus=2, used=1), gpus=2)
    assert refused == Refusal(node="a", why="1 of its 2 GPUs are free", passes=True)
    assert busy(candidate("a", gpus=2, used=1), gpus=1) is None


def test_the_error_names_each_node_and_why() -> None:
    error = nothing_fits([Refusal(node="a", why="it has 0 GPUs"), Refusal(node="b", why="silent")], gpus=2)
    assert (error.code, error.cause, error.retryable) == ("RESOURCE_UNAVAILABLE", "nodes", True)
    assert error.details["nodes"] == {"a": "it has 0 GPUs", "b": "silent"}
    assert "a: it has 0 GPUs; b: silent" in error.message


def test_the_service_tries_a_job_again_that_no_node_could_take() -> None:
    assert goes_again(nothing_fits([Refusal(node="a", why="silent")], gpus=0), is_stopping=False)


def container(of: str, **labels: str) -> dict[str, Any]:
    """What an engine tells of a container of the attempt ``of``."""
    name = f"autoscorer-{hashlib.sha256(of.encode()).hexdigest()[:32]}"
    return {"Names": [f"/{name}"], "Labels": {"autoscorer.name": name} | labels}


def test_an_image_that_carries_our_labels_misleads_nobody_about_gpus() -> None:
    spoof = {"autoscorer.owner": "-", "autoscorer.gpus": "64", "autoscorer.gpu-ids": "0,0,0"}
    named = {**container("x", **spoof), "Names": ["/somebodys"]}
    rows = [{"Names": ["/bold_wing"], "Labels": spoof}, named]
    assert running_of(rows) == Running()
    assert least_used(rows, asked=1, present=2) == ("0",)
    honest = [container("x", **{"autoscorer.gpus": "1", "autoscorer.gpu-ids": "0,0"})]  # the control
    assert running_of(honest) == Running(jobs=1, gpus=1, attempts=frozenset({""}))
    assert least_used(honest, asked=1, present=2) == ("1",)
    twice = [
        *honest,
        container("y", **{"autoscorer.gpu-ids": "1"}),
        container("z", **{"autoscorer.gpu-ids": "1"}),
    ]
    assert least_used(twice, asked=1, present=2) == ("0",)


def test_an_attempt_counts_once_however_many_containers_it_has() -> None:
    def row(name: str, gpus: str) -> dict[str, Any]:
        return container(name, **{"autoscorer.gpus": gpus, "autoscorer.folder": f"/{name}"})

    rows = [row("one", "2"), row("one", "2"), row("two", "1"), row("odd", "many")]
    assert running_of(rows) == Running(jobs=3, gpus=3, attempts=frozenset({"/one", "/two", "/odd"}))


@pytest.mark.parametrize(
    ("given", "asked", "present", "ids"),
    [
        ([], 2, 4, ("0", "1")),
        (["0", "1"], 2, 4, ("2", "3")),
        (["0,2"], 2, 4, ("1", "3")),
        (["0", "0,1"], 1, 3, ("2",)),
        # All are taken: those that fewest have, as when DOCKER_HOST is one engine that nobody waits for
        (["0", "0,1"], 1, 2, ("1",)),
        (["", "all"], 1, 1, ("0",)),
    ],
)
def test_a_job_gets_the_gpus_that_fewest_others_have(
    given: list[str], asked: int, present: int, ids: tuple[str, ...]
) -> None:
    rows = [container(str(at), **{"autoscorer.gpu-ids": numbers}) for at, numbers in enumerate(given)]
    rows += [{"Labels": None}]
    assert least_used(rows, asked=asked, present=present) == ids


def test_whoever_sees_another_container_with_its_gpus_gives_way() -> None:
    def row(name: str, numbers: str) -> dict[str, Any]:
        return container(name, **{"autoscorer.gpu-ids": numbers})

    me = str(container("me")["Labels"]["autoscorer.name"])

    def gives(*rows: dict[str, Any], present: int = 2, may_share: bool = False) -> bool:
        return gives_way(rows, me, present=present, may_share=may_share)

    assert gives(row("me", "0,1"), row("other", "1"))
    assert not gives(row("me", "0,1"), row("me", ""), row("other", "2"), {"Labels": None})
    assert not gives(row("other", "0"), row("another", "0"))
    # On an engine that nobody waits for: only while there are enough that nobody has
    assert gives(row("me", "0"), row("other", "0"), may_share=True)
    assert not gives(row("me", "0"), row("other", "0"), row("another", "1"), may_share=True)
    assert not gives(row("me", "0,1"), row("other", "0"), present=2, may_share=True)
    assert gives(row("me", "0,1"), row("other", "0"), present=3, may_share=True)
