"""Seeds of random cases: a few for every check, all of them for every test run."""

from __future__ import annotations

import pytest
from _pytest.mark import ParameterSet

QUICK = 40


def seeds(number: int) -> list[ParameterSet]:
    """The seeds 0 … ``number`` - 1; those after the first forty are `slow`."""
    return [pytest.param(seed, marks=[pytest.mark.slow] if seed >= QUICK else []) for seed in range(number)]
