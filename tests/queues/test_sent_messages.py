"""What is sent to a worker is what a worker takes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autoscorer.queues import messages
from autoscorer.queues.celery_queue import CeleryBroker, make_app
from autoscorer.store.records import Action, Job
from autoscorer.utils.config import Config


@pytest.mark.parametrize("action", list(Action))
def test_a_message_says_what_is_to_be_done_with_which_job(action: Action) -> None:
    task_id = "0e3b3d4c-3b1a-4c43-9a0e-0f6b8f1d2c3b"
    settings = replace(Config(environ={}).settings, celery_broker="memory://")
    app = make_app(lambda: settings)
    job: Any = SimpleNamespace(task_id=task_id, action=action, queue="score")
    broker = CeleryBroker(app)
    broker.send(cast(Job, job))
    assert broker.waiting("score") == 1
    with app.connection_for_read() as connection:
        message = connection.channel().basic_get("score", no_ack=True)
    order = messages.read(
        message.headers,
        message.body,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
    )
    assert order == messages.Order(action=action, task_id=task_id)
    assert message.delivery_info["routing_key"] == "score"
