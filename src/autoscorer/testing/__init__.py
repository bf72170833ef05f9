"""The contract suite: what every scorer promises, tried on its example or on a workspace.

    import pytest
    from autoscorer.testing import contracts_for
    from my_metric import MyMetric

    @pytest.mark.parametrize("contract", contracts_for(MyMetric()))
    def test_my_metric_keeps_the_contract(contract):
        contract.check()

`check_scorer(MyMetric())` is the same in one call; `autoscorer scorers test` runs it too.
"""

from autoscorer.schemas.scorer import Example
from autoscorer.testing.contract import Contract, Outcome, Verdict
from autoscorer.testing.suite import check_scorer, contracts_for

__all__ = ["Contract", "Example", "Outcome", "Verdict", "check_scorer", "contracts_for"]
