"""What every test may rely on: a test marked `sandbox` has bubblewrap, or skips (fails in CI)."""

from __future__ import annotations

import os

import pytest

from tests.workspaces import make_workspace

__all__ = ["make_workspace"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("sandbox") is None:
        return
    from autoscorer.confine.bubblewrap import usable_bubblewrap
    from autoscorer.utils.errors import AutoscorerError

    try:
        usable_bubblewrap()
    except AutoscorerError as exc:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have the sandbox: {exc.message}")
        pytest.skip(exc.message)
