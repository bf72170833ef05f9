"""What Celery is told: a pure function from the settings, so that every choice can be read and tested."""

from __future__ import annotations

from typing import Any

from autoscorer.queues.base import QUEUES
from autoscorer.utils.config import Settings

CONSUMER = "celery_app.consumer:Consumer"
_PULL_S = 600  # what fetching an image may take: see `executor.docker.image_pull`
_MARGIN_S = 600
_HEALTH_S = 10  # a broker that is silent for this long is asked, and dropped if it stays silent


def longest_job_s(settings: Settings) -> int:
    """How long a worker may rightly hold one message: the wait for a node, image, run and score, and the way
    there and back."""
    return (
        max(settings.node_wait_s, settings.k8s_start_timeout_s)
        + settings.max_time_limit_s
        + settings.scorer_time_limit_s
        + settings.worker_grace_s
        + _PULL_S
        + _MARGIN_S
    )


def celery_options(settings: Settings) -> dict[str, Any]:
    """Celery's configuration. Nothing of it decides about a job: the store does."""
    return {
        "broker_url": settings.celery_broker,
        "result_backend": settings.celery_backend,
        **_messages(),
        **_worker(settings),
        **_connection(settings),
    }


def _messages() -> dict[str, Any]:
    """JSON and nothing else; three queues, addressed by name, so that an emptied broker needs no bindings."""
    return {
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "result_accept_content": ["json"],
        "event_serializer": "json",
        "task_queues": {name: {"exchange": "", "routing_key": name} for name in QUEUES},
        "task_default_queue": QUEUES[0],
        "task_create_missing_queues": False,
        "task_default_delivery_mode": "persistent",
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_publish_retry": False,  # the releaser tries again by itself
    }


def _worker(settings: Settings) -> dict[str, Any]:
    """A message is acknowledged when its job has ended, so a worker takes no more than it works on."""
    return {
        "worker_pool": "threads",
        "worker_concurrency": settings.worker_slots,
        "worker_consumer": CONSUMER,
        "worker_prefetch_multiplier": 1,
        "worker_enable_prefetch_count_reduction": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_redirect_stdouts": False,
        "worker_disable_rate_limits": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_acks_on_failure_or_timeout": True,
        "enable_utc": True,
    }


def _connection(settings: Settings) -> dict[str, Any]:
    """Cut off, it tries again for ever; a peer that is silently gone is noticed within seconds."""
    return {
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 5,
        "broker_channel_error_retry": True,
        "broker_heartbeat": 2 * _HEALTH_S,
        "broker_pool_limit": 4,
        "broker_transport_options": _transport(settings),
    }


def _transport(settings: Settings) -> dict[str, Any]:
    """The options of the Redis transport; what is for sending holds for every one that looks for it."""
    options: dict[str, Any] = {
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.2,
        "interval_max": 0.2,
    }
    if not (settings.celery_broker or "").startswith(("redis", "sentinel")):
        return options
    return options | {
        "visibility_timeout": longest_job_s(settings),
        "socket_connect_timeout": 5,
        "socket_timeout": _HEALTH_S,
        "socket_keepalive": True,
        "health_check_interval": _HEALTH_S,
        "retry_on_timeout": False,
        "priority_steps": [0],  # the store decides what comes first
    }
