"""Names the iris whose mean petal and sepal sizes are nearest."""

import csv
import math
import statistics
from pathlib import Path


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sizes(row):
    return [float(value) for name, value in row.items() if name.endswith("_cm")]


def main():
    flowers = {}
    for row in read_rows("input/train.csv"):
        flowers.setdefault(row["label"], []).append(sizes(row))
    centres = {
        label: [statistics.fmean(column) for column in zip(*group, strict=True)]
        for label, group in flowers.items()
    }

    Path("output").mkdir(exist_ok=True)
    with open("output/pred.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "label"])
        for row in read_rows("input/test.csv"):
            flower = sizes(row)
            writer.writerow([row["id"], min(centres, key=lambda label: math.dist(centres[label], flower))])


if __name__ == "__main__":
    main()
