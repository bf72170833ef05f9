"""What can happen to a running service; each does it once and says how often it was done."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

from tests.chaos.stack import Stack

ASLEEP_S = 40.0  # a lease is 30 s
Fault = Callable[[Stack, random.Random], int]


def kill_a_worker(stack: Stack, dice: random.Random) -> int:
    """SIGKILL, to the process alone; another one comes in its place, as under a supervisor."""
    worker = dice.choice(stack.awake())
    os.kill(worker.pid, signal.SIGKILL)
    stack.killed.append((worker.pid, time.time()))
    worker.process.wait()
    stack.workers.remove(worker)
    stack.add_worker(wait=False)
    return 1


def stop_a_worker(stack: Stack, dice: random.Random) -> int:
    """SIGSTOP until its leases have run out; one at a time, so that somebody is awake."""
    if stack.asleep:
        return 0
    worker = dice.choice(stack.awake())
    worker.signal(signal.SIGSTOP)
    stack.asleep[worker.pid] = time.time() + ASLEEP_S
    return 1


def kill_redis(stack: Stack, _dice: random.Random) -> int:
    stack.broker.kill()
    stack.broker.start()
    return 1


def flush_redis(stack: Stack, _dice: random.Random) -> int:
    stack.broker.call("FLUSHALL")
    return 1


def cut_connections(stack: Stack, _dice: random.Random) -> int:
    return int(stack.line.cut() > 0)


def restart_postgresql(stack: Stack, _dice: random.Random) -> int:
    stack.database.restart()
    return 1


def restart_docker(stack: Stack, _dice: random.Random) -> int:
    return _restart_docker(stack, signal.SIGTERM)


def kill_docker(stack: Stack, _dice: random.Random) -> int:
    return _restart_docker(stack, signal.SIGKILL)


def _restart_docker(stack: Stack, number: int) -> int:
    if stack.engine is None:
        return 0
    stack.engine.stop(number)
    stack.engine.start()
    return 1


def kill_the_api(stack: Stack, _dice: random.Random) -> int:
    with stack.api.changing:
        stack.api.end(signal.SIGKILL)
        stack.api.start(wait=False)
    return 1


QUICK: dict[str, Fault] = {
    "Redis killed and started empty": kill_redis,
    "FLUSHALL": flush_redis,
    "every connection to Redis cut": cut_connections,
    "PostgreSQL restarted": restart_postgresql,
    "API killed and started again": kill_the_api,
}
ALL: dict[str, Fault] = {
    **QUICK,
    "worker killed": kill_a_worker,
    "worker stopped past its lease, then continued": stop_a_worker,
    "dockerd restarted": restart_docker,
    "dockerd killed and started again": kill_docker,
}
