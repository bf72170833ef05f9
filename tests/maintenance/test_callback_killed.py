"""A process that is killed between sending a callback and writing that down, for real."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autoscorer.maintenance.callbacks.duty import callbacks_duty
from autoscorer.store.records import Callback, CallbackState
from autoscorer.store.sql_store import SqlStore
from tests.maintenance.receivers import hanging, receiving
from tests.worker.sites import make_site, until

pytestmark = pytest.mark.slow

SENDING = """
import sys, threading
from autoscorer.maintenance.callbacks.duty import callbacks_duty
from autoscorer.store.sql_store import SqlStore
from autoscorer.utils.config import Config

url, data_dir = sys.argv[1:]
given = {"DATA_DIR": data_dir, "CALLBACK_ALLOWED_HOSTS": "127.0.0.1", "CALLBACK_TIMEOUT": "300"}
callbacks_duty(Config(data_dir + "/none.yaml", environ=given).settings, SqlStore(url)).work()
threading.Event().wait()
"""


def the_message(store: SqlStore) -> Callback:
    (found,) = store.callbacks.list()
    return found


@pytest.mark.fault("callback sender killed before it wrote that down")
def test_it_is_sent_again_under_the_same_id_with_the_same_words(tmp_path: Path) -> None:
    site = make_site(tmp_path, CALLBACK_ALLOWED_HOSTS="127.0.0.1")
    store = site.open_store()
    with receiving(hanging) as receiver:
        job = site.submit(store, site.workspace(), callback_url=receiver.url)
        store.jobs.cancel(job.task_id, by="ada")
        command = [sys.executable, "-c", SENDING, site.url, str(site.settings.data_dir)]
        with subprocess.Popen(command) as sender:
            until(lambda: receiver.arrived)
            sender.send_signal(signal.SIGKILL)
        assert the_message(store).state is CallbackState.PENDING
        receiver.script = None

        now = callbacks_duty(site.settings, store)
        now.work()
        now.finish()
        assert len(receiver.arrived) == 1, "control: its claim holds until the lease has run out"
        later = site.open_store(ahead_s=331)
        duty = callbacks_duty(site.settings, later)
        duty.work()
        until(lambda: the_message(store).state is CallbackState.DELIVERED)
        duty.finish()
    first, second = receiver.arrived
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == the_message(store).callback_id
    assert first.body == second.body
    assert the_message(store).tries == 2
    site.close()
