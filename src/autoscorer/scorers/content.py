"""A scorer is its content: what code gives a score, as a SHA-256."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path

from autoscorer.scorers.base import Scorer


def scorer_sha256(scorer: Scorer) -> str:
    """SHA-256 (hex) of the file that defines the scorer's class."""
    try:
        content = Path(inspect.getfile(type(scorer))).read_bytes()
    except (TypeError, OSError):
        # A class made in an interactive session has no file; its text is the next best content.
        content = f"{type(scorer).__module__}.{type(scorer).__qualname__}@{scorer.version}".encode()
    return hashlib.sha256(content).hexdigest()
