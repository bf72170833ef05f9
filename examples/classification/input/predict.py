"""Tells three kinds of wine apart by a chemical analysis: the five nearest known wines vote."""

import csv
import math
import statistics
from collections import Counter
from pathlib import Path

NEIGHBOURS = 5


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def vector(row, columns):
    return [float(row[column]) for column in columns]


def make_standardiser(vectors):
    """A function that gives every feature mean 0 and deviation 1, as measured on ``vectors``."""
    means = [statistics.fmean(column) for column in zip(*vectors, strict=True)]
    deviations = [statistics.pstdev(column) or 1.0 for column in zip(*vectors, strict=True)]
    return lambda values: [(v - m) / d for v, m, d in zip(values, means, deviations, strict=True)]


def vote(known, unknown):
    """The label most of the nearest neighbours have; between equals, that of the nearest."""
    nearest = sorted(known, key=lambda pair: math.dist(pair[0], unknown))[:NEIGHBOURS]
    return Counter(label for _, label in nearest).most_common(1)[0][0]


def main():
    train, test = read_rows("input/train.csv"), read_rows("input/test.csv")
    columns = [name for name in train[0] if name != "label"]
    standardise = make_standardiser([vector(row, columns) for row in train])
    known = [(standardise(vector(row, columns)), row["label"]) for row in train]

    Path("output").mkdir(exist_ok=True)
    with open("output/pred.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "label"])
        for row in test:
            writer.writerow([row["id"], vote(known, standardise(vector(row, columns)))])


if __name__ == "__main__":
    main()
