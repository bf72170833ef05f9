"""AutoScorer scores machine-learning competitions."""

__version__ = "0.1.0"
