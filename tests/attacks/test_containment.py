"""Every attack by a program or an image gets its verdict and leaves nothing; its control proves it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.attacks import disk, image_attacks, memory, outputs, processes, spying
from tests.attacks.arena import GRACE_S, SETTLE_S, Arena, Contained
from tests.attacks.case import Attack, Mended
from tests.attacks.record import Record

pytestmark = [pytest.mark.slow, pytest.mark.docker]
GROUPS = {
    "Processes and signals": processes.ATTACKS,
    "Memory": memory.ATTACKS,
    "Disk and logs": disk.ATTACKS,
    "Output": outputs.ATTACKS,
    "Secrets, kernel and network": spying.ATTACKS,
    "Images": image_attacks.ATTACKS,
}
ATTACKS = [
    pytest.param(group, attack, id=attack.name, marks=[pytest.mark.long] if attack.long else [])
    for group, attacks in GROUPS.items()
    for attack in attacks
]
each_attack = pytest.mark.parametrize(("group", "attack"), ATTACKS)


@each_attack
def test_an_attack_is_contained(arena: Arena, record: Record, group: str, attack: Attack) -> None:
    record.tried(group, attack.name, expected=attack.expected, blame=attack.blame)
    ran = arena.run(attack)
    record.left(ran.left)
    assert ran.left == []
    assert_verdict(ran, attack)
    assert_gone_in_time(ran, attack)
    assert not attack.harm(ran.seen), ran.seen
    record.contained()


@each_attack
def test_control_without_the_guard_the_attack_works(
    arena: Arena, record: Record, group: str, attack: Attack
) -> None:
    record.control(group, attack.name)
    if isinstance(attack.control, Mended):
        assert arena.run(mended(attack, attack.control)).code is None
    else:
        assert attack.harm(arena.without_guard(attack))
    record.worked()


def assert_verdict(ran: Contained, attack: Attack) -> None:
    assert ran.code in attack.expected, ran.error and (ran.error.message, ran.error.details)
    if ran.error is not None:
        assert ran.error.blame == attack.blame
        assert attack.exit_code in (None, (ran.error.details or {}).get("exit_code"))


def assert_gone_in_time(ran: Contained, attack: Attack) -> None:
    for life in ran.lifetimes:
        assert life.seconds is not None
        assert life.seconds <= attack.time_limit_s + GRACE_S + SETTLE_S


def mended(attack: Attack, control: Mended) -> Attack:
    container = {**attack.container, **control.container}
    return replace(
        attack,
        image=container.pop("image", attack.image),
        container=container,
        resources={**attack.resources, **control.resources},
        settings={**attack.settings, **control.settings},
    )
