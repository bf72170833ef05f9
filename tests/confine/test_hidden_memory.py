"""What a service's process was started with stays its own, also from processes of its user."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from celery_app import lifecycle

LOOK = """
import os, subprocess, sys
from autoscorer.confine.namespaces import hide_memory
if os.geteuid() == 0:  # who may look into everything proves nothing
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
hide_memory(hidden=sys.argv[1] == "hidden")
found = subprocess.run(["cat", f"/proc/{os.getpid()}/environ"], capture_output=True, check=False)
print("the-password" in found.stdout.decode())
"""


@pytest.mark.parametrize(("how", "is_seen"), [("hidden", "False"), ("plain", "True")])
def test_a_process_of_the_same_user_cannot_read_what_it_was_started_with(how: str, is_seen: str) -> None:
    """Control: of one that does not hide it, it can."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, how],
        env={"DATABASE_URL": "postgresql://a:the-password@b/c", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == is_seen


def test_a_celery_worker_hides_its_memory_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(lifecycle, "hide_memory", lambda: told.append("hidden"))
    monkeypatch.setattr(lifecycle, "settings", lambda: None)
    monkeypatch.setattr(lifecycle, "configure_service_log", lambda _settings: told.append("log"))
    monkeypatch.setattr(lifecycle, "Tap", lambda *_: None)
    monkeypatch.setattr("celery_app.serving.begin", lambda *_, **__: told.append("begun"))
    queues = SimpleNamespace(queues=SimpleNamespace(consume_from=["cpu"]))
    lifecycle._begin(SimpleNamespace(pool_cls="threads", concurrency=1, app=SimpleNamespace(amqp=queues)))
    assert told == ["hidden", "log", "begun"]
