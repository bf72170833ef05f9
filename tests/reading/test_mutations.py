"""5,000 damaged files: each is scored as the strict reader and scikit-learn say, or refused by name."""

from __future__ import annotations

import random
import re
import warnings
from collections import Counter
from pathlib import Path

import pytest
from sklearn.metrics import f1_score, root_mean_squared_error

from autoscorer.reading import align
from autoscorer.reading.aligned import AlignedLabels, AlignedValues
from autoscorer.schemas.result import Result
from autoscorer.scorers.registry import get_scorer
from autoscorer.utils.errors import AutoscorerError
from tests.reading.files import contents, fast_answer, strict_answer

MUTANTS = 5_000
CODES = {"PARSE_ERROR", "BAD_FORMAT"}
ROWS = 12
NASTY = [
    b"\0", b'"', b"\r", b"\n", b"\n\n", b"\r\n", b",", b" ", b"\t", b"\xff", b"\xef\xbb\xbf", b"\xc2\xa0",
    b"+", b"-", b"0", b"1_000", b"nan", b"inf", b"1e400", b"1e-400", "１".encode(), b"<html>", b"id,label\n",
    b"\\", b"'", b"#", b"x" * 140_000, b"\x1a", b"\xe2\x80\xa8", b"null", b"NA",
]  # fmt: skip


def valid_file(chance: random.Random, *, numeric: bool) -> bytes:
    names = chance.choice([[str(row) for row in range(ROWS)], [f"img_{row:03}" for row in range(ROWS)]])
    chance.shuffle(names)
    values = [f"{chance.gauss(0, 9):.6g}" if numeric else chance.choice(["cat", "dog", "é"]) for _ in names]
    extra = chance.random() < 0.3
    lines = ["id,label,note" if extra else "id,label"]
    lines += [
        f"{name},{value},n {value}" if extra else f"{name},{value}"
        for name, value in zip(names, values, strict=True)
    ]
    return (chance.choice(["\n", "\n", "\r\n"]).join(lines) + chance.choice(["", "\n"])).encode()


def flip(chance: random.Random, content: bytes) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]


def insert(chance: random.Random, content: bytes) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.choice(NASTY) + content[at:]


def cut(chance: random.Random, content: bytes) -> bytes:
    start = chance.randrange(len(content))
    return content[:start] + content[start + chance.randint(1, 9) :]


def repeat_line(chance: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
    return b"".join(lines)


def swap_lines(chance: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def move_field(chance: random.Random, content: bytes) -> bytes:
    return content.replace(b",", chance.choice([b";", b",,", b" ,", b", "]), chance.randint(1, 2))


def quote_fields(chance: random.Random, content: bytes) -> bytes:
    """Still valid, but nothing for the fast reader."""
    lines = content.splitlines(keepends=True)
    at = chance.randrange(len(lines))
    lines[at] = re.sub(rb"[^,\r\n]+", rb'"\g<0>"', lines[at])
    return b"".join(lines)


MUTATIONS = (quote_fields, flip, insert, cut, repeat_line, swap_lines, move_field)


def mutant(chance: random.Random, content: bytes) -> bytes:
    for _ in range(chance.choice([0, 1, 1, 1, 2])):
        content = chance.choice(MUTATIONS)(chance, content) or b"\n"
    return content


def score(folder: Path, reference: bytes, prediction: bytes, *, numeric: bool) -> Result | AutoscorerError:
    (folder / "reference" / "gt.csv").write_bytes(reference)
    (folder / "output" / "pred.csv").write_bytes(prediction)
    try:
        return get_scorer("regression_rmse" if numeric else "classification_f1").score(folder, {})
    except AutoscorerError as fault:
        return fault


def oracle(strict: AlignedLabels | AlignedValues) -> float:
    """scikit-learn's score of what the strict reader aligned."""
    if isinstance(strict, AlignedValues):
        return float(root_mean_squared_error(strict.y_true, strict.y_pred))
    truth, delivered = ([strict.labels[code] for code in side] for side in (strict.y_true, strict.y_pred))
    return float(f1_score(truth, delivered, average="macro", zero_division=0))


@pytest.mark.slow
@pytest.mark.parametrize("numeric", [False, True], ids=["labels", "numbers"])
def test_no_damage_gives_a_traceback_or_another_score(
    numeric: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(align, "FAST_READER_BYTES", 0)
    (tmp_path / "reference").mkdir()
    (tmp_path / "output").mkdir()
    chance = random.Random(20260 + numeric)
    seen: Counter[str] = Counter()
    for _ in range(MUTANTS // 2):
        reference = valid_file(chance, numeric=numeric)
        prediction = mutant(chance, reference)
        if chance.random() < 0.1:
            reference, prediction = prediction, reference
        strict = strict_answer(reference, prediction, numeric=numeric)
        fast = fast_answer(reference, prediction, numeric=numeric)
        given = score(tmp_path, reference, prediction, numeric=numeric)
        if isinstance(strict, AutoscorerError):
            assert fast is None, (strict, reference, prediction)
            assert isinstance(given, AutoscorerError)
            assert (given.code, given.message, given.details) == (strict.code, strict.message, strict.details)
            assert strict.code in CODES
            seen[strict.code] += 1
            continue
        assert fast is None or contents(fast) == contents(strict), (reference, prediction)
        assert isinstance(given, Result)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert given.summary["score"] == pytest.approx(oracle(strict), rel=1e-12, abs=1e-12)
        seen["answered fast" if fast else "answered strictly"] += 1
    # The control: each way out was taken often enough to mean something.
    assert min(seen[way] for way in (*CODES, "answered fast", "answered strictly")) > 50, seen
