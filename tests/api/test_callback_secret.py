"""What receivers verify with: one secret for each organisation, while it is replaced two."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from autoscorer.maintenance.callbacks.duty import callbacks_duty
from autoscorer.store.records import JobQuery
from tests.api.sites import ApiSite, close_api_site, make_api_site
from tests.examples.test_callback_receiver import receiver
from tests.maintenance.receivers import receiving
from tests.worker.sites import until

__all__ = ["receiver"]
OLD, NEW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "A" * 32


def _secrets(api: ApiSite, organisation: str) -> list[str]:
    answer = api.ask("GET", "/api/v1/callbacks/secret", organisation=organisation)
    assert answer.headers["cache-control"] == "no-store"
    found: list[str] = answer.json()["data"]["secrets"]
    return found


@pytest.mark.slow
def test_a_message_is_verified_by_its_organisations_secrets_and_by_no_other(
    tmp_path: Path, receiver: Any
) -> None:
    api = make_api_site(
        tmp_path, CALLBACK_SECRET=f'["{NEW}", "{OLD}"]', CALLBACK_ALLOWED_HOSTS='["127.0.0.1"]'
    )
    with receiving() as inbox:
        for organisation in ("default", "other"):
            job = api.job(organisation=organisation, callback_url=inbox.url)
            api.store.jobs.cancel(job.task_id, by="ada")
        duty = callbacks_duty(api.site.settings, api.store)
        duty.work()
        until(lambda: len(inbox.arrived) == 2)
        duty.finish()
    for organisation, other in (("default", "other"), ("other", "default")):
        own = {job.task_id for job in _jobs(api, organisation)}
        (message,) = (one for one in inbox.arrived if one.json["meta"]["task_id"] in own)
        for secret in _secrets(api, organisation):
            assert receiver.verify(message.headers, message.body, secret, now_s=time.time())
        for secret in (*_secrets(api, other), OLD, NEW):
            with pytest.raises(ValueError, match="signature"):
                receiver.verify(message.headers, message.body, secret, now_s=time.time())
    close_api_site(api)


def _jobs(api: ApiSite, organisation: str) -> Any:
    return api.store.jobs.page(JobQuery(organisation_id=api.organisation(organisation))).jobs
