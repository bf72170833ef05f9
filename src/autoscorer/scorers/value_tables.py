"""The tables of a regression: the rows that are off most, the spread of the residuals, rows to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscorer.scorers.tables import Table

if TYPE_CHECKING:  # numpy is not imported until a scorer computes
    from autoscorer.reading.aligned import AlignedValues

MOST_WORST_ROWS = 100
MOST_DRAWN_ROWS = 2_000
SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


def value_tables(aligned: AlignedValues) -> dict[str, Table]:
    """``worst_cases``, ``residuals``, ``predicted_vs_true``.

    All show the truth; the second too: a quantile is one row's residual, and who knows the prediction
    behind it knows the true value.
    """
    return {
        "worst_cases": _worst_cases(aligned),
        "residuals": _residuals(aligned),
        "predicted_vs_true": _predicted_vs_true(aligned),
    }


def _worst_cases(aligned: AlignedValues) -> Table:
    from autoscorer.metrics.residuals import worst_rows

    positions = worst_rows(aligned.y_true, aligned.y_pred, most=MOST_WORST_ROWS)
    true, predicted = (side[positions].tolist() for side in (aligned.y_true, aligned.y_pred))
    # Python's floats: a difference too large for one becomes infinite without a warning.
    errors = [there - here for here, there in zip(true, predicted, strict=True)]
    return Table(
        header=["id", "truth", "predicted", "error"],
        rows=zip(aligned.ids_of(positions.tolist()), true, predicted, errors, strict=True),
        # Fewer than asked for are all that are off.
        rows_in_all=len(aligned.y_true) if len(positions) == MOST_WORST_ROWS else len(positions),
    )


def _residuals(aligned: AlignedValues) -> Table:
    from autoscorer.metrics.residuals import residual_quantiles

    quantiles = residual_quantiles(aligned.y_true, aligned.y_pred, SHARES)
    rows = list(zip(SHARES, quantiles, strict=True))
    return Table(header=["share_of_rows", "error_at_most"], rows=rows, rows_in_all=len(rows))


def _predicted_vs_true(aligned: AlignedValues) -> Table:
    from autoscorer.metrics.residuals import even_rows

    positions = even_rows(len(aligned.y_true), most=MOST_DRAWN_ROWS)
    sides = [side[positions].tolist() for side in (aligned.y_true, aligned.y_pred)]
    return Table(
        header=["truth", "predicted"], rows=zip(*sides, strict=True), rows_in_all=len(aligned.y_true)
    )
