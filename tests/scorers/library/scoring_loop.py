"""Score one pair of files with the loaded scorer `mine`, again and again, until it is told to stop.

``python -m tests.scorers.library.scoring_loop FOLDER``: FOLDER holds gt.csv and pred.csv; a file `stop`
there ends it. One JSON line a score: the hash in the result, and the metric.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from autoscorer import facade, runtime
from autoscorer.utils.config import Config
from autoscorer.utils.errors import AutoscorerError


def main(folder: Path) -> None:
    with runtime.open_catalog(Config().settings) as catalog:
        while not (folder / "stop").exists():
            try:
                result = facade.score_files(catalog, folder / "gt.csv", folder / "pred.csv", "mine")
            except AutoscorerError as exc:
                print(json.dumps({"error": str(exc), "details": str(exc.details)}), flush=True)
                return
            told = {"sha256": result.versioning["scorer_sha256"], "m": result.metrics["m"]}
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
