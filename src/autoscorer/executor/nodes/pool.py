"""The nodes of one process: what is known of each, and a seat for a job on the best."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from autoscorer.executor.nodes.breaker import Breaker
from autoscorer.executor.nodes.ranking import (
    Candidate,
    Health,
    Load,
    Refusal,
    Request,
    Running,
    busy,
    ranked,
    set_aside,
    unfit,
)
from autoscorer.utils.config import Node
from autoscorer.utils.errors import AutoscorerError

_NODE_FAULTS = {"CONTAINER_CREATE_FAILED", "CONTAINER_WAIT_FAILED", "EXEC_ERROR"}
IMAGE_NOT_HAD = {"IMAGE_NOT_PRESENT", "IMAGE_PULL_FAILED"}  # there; another node may have it or get it
_NODE_SETTINGS = {"DOCKER_TRANSPORT", "DOCKER_HELPER_IMAGE"}  # what is wrong with them is so at that node


def is_nodes_fault(error: BaseException | None) -> bool:
    """Whether a job failed by its node: never by what a participant did.

    That an engine refuses to start a participant's container may be that image's doing, so it does not count.
    """
    if not isinstance(error, AutoscorerError) or error.details.get("refused_start"):
        return False
    if error.code == "RESOURCE_UNAVAILABLE":
        return error.cause == "engine" or error.details.get("setting") in _NODE_SETTINGS
    return error.code in _NODE_FAULTS


def may_run_elsewhere(error: AutoscorerError) -> bool:
    """Whether a job that could not be prepared at a node may do at another, where things stand otherwise."""
    return is_nodes_fault(error) or error.code == "RESOURCE_UNAVAILABLE" or error.code in IMAGE_NOT_HAD


class Seat:
    """A job's place on a node, from when it was chosen until `leave`."""

    def __init__(self, pool: NodePool, node: Node, breaker: Breaker, request: Request) -> None:
        self.node = node
        self.request = request
        self._pool = pool
        self._breaker = breaker
        self._is_trial = breaker.enter()
        self._has_begun = False

    def began(self) -> None:
        """Its container runs: from now on whoever asks the engine sees it."""
        self._has_begun = True
        if self._is_trial:
            self._breaker.began()
        self._pool.forget(self)

    def leave(self, error: BaseException | None) -> None:
        """The job is over there, by ``error`` or well. One that has not begun there speaks for no node."""
        self._pool.forget(self)
        if is_nodes_fault(error):
            self._breaker.failed(str(getattr(error, "code", "")))
        elif self._has_begun and (error is None or getattr(error, "blame", "") == "participant"):
            self._breaker.succeeded()
        elif self._is_trial:
            self._breaker.left()


class NodePool:
    """Safe to use from several threads; what has been placed and cannot be seen yet counts as running.

    ``load`` and ``health`` are asked for each job; ``selector`` are labels that a node must have.
    Jobs that wait for GPUs get them in the order in which they came.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        load: Load,
        health: Health,
        selector: Mapping[str, str] | None = None,
        make_breaker: Callable[[], Breaker] = Breaker,
    ) -> None:
        self.nodes = tuple(nodes)
        self._load = load
        self._health = health
        self._selector = selector or {}
        self._breakers = {node.name: make_breaker() for node in nodes}
        self._placing = threading.Lock()
        self._lists_lock = threading.Lock()  # another, for whoever begins or leaves waits for no engine
        self._unseen: list[Seat] = []
        self._numbers = itertools.count()
        self._waiting: list[Request] = []

    @contextmanager
    def request(self, *, gpus: int, attempt: str) -> Iterator[Request]:
        """What a job asks for, to be used for every `place` of it; its turn is lost with the block.

        ``attempt`` is what `Running.attempts` calls it.
        """
        made = Request(number=next(self._numbers), gpus=gpus, attempt=attempt)
        try:
            yield made
        finally:
            self._stop_waiting(made)

    def place(self, request: Request) -> Seat | list[Refusal]:
        """A seat on the best node, or why each has none; then it waits, and what it needs is kept for it."""
        with self._placing:  # else two jobs would take the same GPUs
            self._stop_waiting(request)
            refusals: list[Refusal] = []
            best = ranked(self._candidates(request, refusals))
            if not best:
                with self._lists_lock:
                    self._waiting.append(request)
                return refusals
            node = best[0].node
            seat = Seat(self, node, self._breakers[node.name], request)
            with self._lists_lock:
                self._unseen.append(seat)
            return seat

    def forget(self, seat: Seat) -> None:
        """It no longer counts besides what the engine tells. Safe to call twice."""
        with self._lists_lock:
            self._unseen = [other for other in self._unseen if other is not seat]

    def _stop_waiting(self, request: Request) -> None:
        with self._lists_lock:
            self._waiting = [other for other in self._waiting if other is not request]

    def _candidates(self, request: Request, refusals: list[Refusal]) -> Iterator[Candidate]:
        found: list[Candidate] = []
        for order, node in enumerate(self.nodes):
            seen = unfit(node, request, selector=self._selector) or self._look(node, order)
            if isinstance(seen, Candidate):
                found.append(seen)
            else:
                refusals.append(seen)
        earlier = [other for other in self._waiting if other.number < request.number]
        for candidate in set_aside(found, earlier):
            if (refused := busy(candidate, gpus=request.gpus)) is None:
                yield candidate
            else:
                refusals.append(refused)

    def _look(self, node: Node, order: int) -> Candidate | Refusal:
        breaker = self._breakers[node.name]
        if why := breaker.refusal():
            return Refusal(node=node.name, why=why, passes=True)
        with self._lists_lock:  # before the engine is asked: who begins meanwhile is in one of the two
            placed = [seat.request for seat in self._unseen if seat.node.name == node.name]
        try:
            why = self._health(node)
            running = self._load(node) if why is None else Running()
        except AutoscorerError as exc:
            why = str(exc.details.get("reason") or exc.message)
        if why is not None:
            breaker.enter()
            breaker.failed(why)
            return Refusal(node=node.name, why=why, passes=True)
        unseen = [request for request in placed if request.attempt not in running.attempts]
        jobs, taken = running.jobs + len(unseen), running.gpus + sum(request.gpus for request in unseen)
        return Candidate(node=node, order=order, running=Running(jobs=jobs, gpus=taken))
