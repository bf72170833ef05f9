"""Celery's application and its three tasks. Importing it reads no configuration and starts nothing."""

from __future__ import annotations

from autoscorer.queues.celery_queue import make_app
from autoscorer.store.records import Action
from celery_app import lifecycle, serving

app = make_app(lifecycle.settings)
lifecycle.attach(app)


@app.task(name=Action.RUN.value)
def run(task_id: str) -> None:
    """Run the container of job ``task_id``."""
    serving.current().take(task_id, Action.RUN)


@app.task(name=Action.SCORE.value)
def score(task_id: str) -> None:
    """Score what job ``task_id`` delivered."""
    serving.current().take(task_id, Action.SCORE)


@app.task(name=Action.PIPELINE.value)
def pipeline(task_id: str) -> None:
    """Run the container of job ``task_id``, then score."""
    serving.current().take(task_id, Action.PIPELINE)
