"""What Celery is told: nothing it could be made to run, and time-outs that no rightful job meets."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoscorer.queues.celery_options import celery_options, longest_job_s
from autoscorer.utils.config import Config, Settings


def settings(**environ: str) -> Settings:
    given = {"CELERY_BROKER": "redis://localhost:6379/0", **environ}
    return Config(Path("none.yaml"), environ=given).settings


def test_only_json_is_accepted_and_nothing_is_run_from_afar() -> None:
    options = celery_options(settings())
    assert options["accept_content"] == options["result_accept_content"] == ["json"]
    assert options["worker_enable_remote_control"] is False
    assert options["task_create_missing_queues"] is False


def test_a_worker_holds_as_many_messages_as_it_has_slots_until_their_jobs_have_ended() -> None:
    options = celery_options(settings(WORKER_SLOTS="7"))
    assert (options["worker_pool"], options["worker_concurrency"]) == ("threads", 7)
    assert (options["worker_prefetch_multiplier"], options["task_acks_late"]) == (1, True)


@pytest.mark.parametrize(
    ("time_limit", "scorer", "waits"),
    [
        (7200, 600, {"NODE_WAIT": 900, "K8S_START_TIMEOUT": 600}),
        (86400, 3600, {"NODE_WAIT": 86400}),
        (7200, 600, {"K8S_START_TIMEOUT": 86400}),
    ],
)
def test_no_message_is_given_to_another_while_a_job_may_rightly_run(
    time_limit: int, scorer: int, waits: dict[str, int]
) -> None:
    given = {"MAX_TIME_LIMIT": time_limit, "SCORER_TIME_LIMIT": scorer, **waits}
    found = settings(**{key: str(value) for key, value in given.items()})
    assert longest_job_s(found) > time_limit + scorer + max(waits.values()) + 600
    assert celery_options(found)["broker_transport_options"]["visibility_timeout"] == longest_job_s(found)


def test_the_connection_is_tried_for_ever() -> None:
    options = celery_options(settings())
    assert options["broker_connection_retry"] is options["broker_connection_retry_on_startup"] is True
    assert options["broker_connection_max_retries"] is None


def test_what_redis_is_told_rabbitmq_is_not() -> None:
    options = celery_options(settings(CELERY_BROKER="amqp://localhost//"))
    assert "visibility_timeout" not in options["broker_transport_options"]


def test_results_are_kept_nowhere_unless_a_place_is_named() -> None:
    assert celery_options(settings())["result_backend"] is None
    assert celery_options(settings())["task_ignore_result"] is True
    url = "redis://localhost:6379/1"
    assert celery_options(settings(CELERY_BACKEND=url))["result_backend"] == url
