"""One host for the tests of a module: its zygote starts once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autoscorer.scorers.child.host import ChildHost
from tests.scorers.child import odd


@pytest.fixture(scope="module")
def host() -> Iterator[ChildHost]:
    with_limits = ChildHost(odd.settings())
    yield with_limits
    with_limits.close()
