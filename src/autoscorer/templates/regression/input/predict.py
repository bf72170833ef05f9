"""Starter: gives every flat the mean rent of the training rows. The score to beat."""

import csv
from pathlib import Path
from statistics import fmean

# The program starts in the workspace: input/ can be read, output/ can be written, there is no network.
with Path("input/train.csv").open(newline="", encoding="utf-8") as file:
    train = list(csv.DictReader(file))
with Path("input/test.csv").open(newline="", encoding="utf-8") as file:
    test = list(csv.DictReader(file))

# Your model goes here: learn from `train`, then find a number for every row of `test`.
mean = fmean(float(row["label"]) for row in train)
values = [mean for row in test]

# One line for every id of input/test.csv; the order does not matter. No nan, no inf.
Path("output").mkdir(exist_ok=True)
with Path("output/pred.csv").open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["id", "label"])
    writer.writerows((row["id"], f"{value:.3f}") for row, value in zip(test, values, strict=True))
