"""The attacks on output, disk and log through both transports, on a real cluster."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from tests.attacks.streamed import ATTACKS, check_contained
from tests.executor.k8s.pods import variables

pytestmark = [pytest.mark.k8s, pytest.mark.slow]


@pytest.mark.parametrize("transport", ["stream", "bind"])
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gets_its_code_and_does_no_harm(
    tmp_path: Path, name: str, transport: str, request: pytest.FixtureRequest
) -> None:
    given = variables()
    if transport == "bind":
        given |= cast(dict[str, str], request.getfixturevalue("claim_here"))
    check_contained(name, tmp_path, given, backend="k8s")
