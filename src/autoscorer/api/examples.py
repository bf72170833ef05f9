"""Requests as OpenAPI shows them."""

from __future__ import annotations

from typing import Any

RUN: Any = {
    "a workspace": {"value": {"workspace": "examples/classification"}},
    "not waiting long": {"value": {"workspace": "examples/classification", "wait_s": 2}},
}
SUBMIT: Any = {
    "a workspace": {"value": {"workspace": "examples/classification", "action": "pipeline"}},
    "with a callback": {
        "value": {
            "workspace": "examples/classification",
            "action": "score",
            "callback_url": "https://ui.example.org/hooks/autoscorer",
        }
    },
}
JOB: Any = {
    "a workspace": {"value": {"workspace": "examples/classification", "action": "pipeline"}},
    "a specification": {
        "value": {
            "workspace": "examples/classification",
            "spec": {
                "job_id": "team-7-final",
                "container": {"image": "team-7/model:3", "cmd": ["python", "predict.py"]},
            },
        }
    },
}
