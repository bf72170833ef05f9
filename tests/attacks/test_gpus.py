"""An image that reaches into a GPU's set-up; the GPU is one that only the engine's answer claims."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.attacks.arena import Arena
from tests.attacks.case import Attack, Plain, won
from tests.attacks.proxy import Proxy
from tests.attacks.record import Record

pytestmark = [pytest.mark.slow, pytest.mark.docker]
GROUP, NAME = "Images", "image with LD_PRELOAD, for a GPU"
ATTACK = Attack(
    name=NAME,
    program="echo WON",
    image="+preload",
    resources={"gpus": 1},
    expected=("IMAGE_INVALID",),
    control=Plain(),
)


def test_an_image_that_preloads_a_library_gets_no_gpu(arena: Arena, between: Proxy, record: Record) -> None:
    record.tried(GROUP, NAME, expected=ATTACK.expected, blame="participant")
    between.rewrites["GET /info"] = {"DiscoveredDevices": [{"ID": "nvidia.com/gpu=0"}]}
    ran = arena.run(ATTACK)
    assert ran.code == "IMAGE_INVALID", ran.error and ran.error.message
    assert ran.error is not None
    assert ran.error.blame == "participant"
    assert "POST /containers/create" not in between.calls
    record.left(ran.left)
    assert ran.left == []
    record.contained()


def test_control_without_a_gpu_the_image_runs_and_so_it_does_plainly(
    arena: Arena, between: Proxy, record: Record
) -> None:
    record.control(GROUP, NAME)
    assert arena.run(replace(ATTACK, resources={"gpus": 0})).code is None
    assert won(arena.without_guard(ATTACK))
    record.worked()
