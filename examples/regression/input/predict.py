"""Predicts the progress of diabetes after one year by ridge regression, solved exactly."""

import csv
import statistics
from pathlib import Path

RIDGE = 10.0


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def vector(row, columns):
    return [float(row[column]) for column in columns]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def solve(matrix, right):
    """The x with ``matrix @ x == right``, by Gaussian elimination with pivoting."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(rows[i][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for below in rows[column + 1 :]:
            factor = below[column] / rows[column][column]
            below[column:] = [
                b - factor * a for a, b in zip(rows[column][column:], below[column:], strict=True)
            ]
    solution = [0.0] * size
    for i in reversed(range(size)):
        solution[i] = (rows[i][size] - dot(rows[i][i + 1 : size], solution[i + 1 :])) / rows[i][i]
    return solution


def fit_ridge(features, targets):
    """The weights that minimise the squared error plus RIDGE times the squared weights."""
    by_column = list(zip(*features, strict=True))
    gram = [
        [dot(a, b) + (RIDGE if i == j else 0.0) for j, b in enumerate(by_column)]
        for i, a in enumerate(by_column)
    ]
    return solve(gram, [dot(column, targets) for column in by_column])


def main():
    train, test = read_rows("input/train.csv"), read_rows("input/test.csv")
    columns = [name for name in train[0] if name != "label"]
    vectors = [vector(row, columns) for row in train]
    means = [statistics.fmean(column) for column in zip(*vectors, strict=True)]
    deviations = [statistics.pstdev(column) or 1.0 for column in zip(*vectors, strict=True)]

    def standardise(values):
        return [(v - m) / d for v, m, d in zip(values, means, deviations, strict=True)]

    targets = [float(row["label"]) for row in train]
    level = statistics.fmean(targets)
    weights = fit_ridge([standardise(values) for values in vectors], [target - level for target in targets])

    Path("output").mkdir(exist_ok=True)
    with open("output/pred.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "label"])
        for row in test:
            prediction = level + dot(weights, standardise(vector(row, columns)))
            writer.writerow([row["id"], f"{prediction:.6f}"])


if __name__ == "__main__":
    main()
