"""Tells malignant from benign cell samples: each goes to the class with the nearest mean."""

import csv
import math
import statistics
from pathlib import Path


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def vector(row, columns):
    return [float(row[column]) for column in columns]


def mean_of(vectors):
    return [statistics.fmean(column) for column in zip(*vectors, strict=True)]


def main():
    train, test = read_rows("input/train.csv"), read_rows("input/test.csv")
    columns = [name for name in train[0] if name != "label"]
    vectors = [vector(row, columns) for row in train]
    means = mean_of(vectors)
    deviations = [statistics.pstdev(column) or 1.0 for column in zip(*vectors, strict=True)]

    def standardise(values):
        return [(v - m) / d for v, m, d in zip(values, means, deviations, strict=True)]

    members = {}
    for row, values in zip(train, vectors, strict=True):
        members.setdefault(row["label"], []).append(standardise(values))
    centres = {label: mean_of(group) for label, group in members.items()}

    Path("output").mkdir(exist_ok=True)
    with open("output/pred.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "label"])
        for row in test:
            sample = standardise(vector(row, columns))
            writer.writerow([row["id"], min(centres, key=lambda label: math.dist(centres[label], sample))])


if __name__ == "__main__":
    main()
