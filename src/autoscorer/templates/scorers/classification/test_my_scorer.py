"""`my_scorer` keeps what every scorer promises. Run with `pytest test_my_scorer.py`."""

import pytest
from autoscorer.testing import Contract, contracts_for

from my_scorer import MyScorer


@pytest.mark.parametrize("contract", contracts_for(MyScorer()))
def test_it_keeps_the_contract(contract: Contract) -> None:
    contract.check()
