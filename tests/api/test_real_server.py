"""Over a real socket: what a test client in this process cannot show."""

from __future__ import annotations

import threading

import httpx
import pytest
import uvicorn

from tests.api.sites import ApiSite
from tests.worker.sites import until


@pytest.mark.slow
def test_a_score_is_answered_and_a_body_bounded_over_a_real_socket(api: ApiSite) -> None:
    config = uvicorn.Config(api.app, port=0, host="127.0.0.1", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    headers = {"Authorization": f"Bearer {api.token()}"}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
            folder = api.workspace()
            (folder / "output" / "pred.csv").write_text((folder / "reference" / "gt.csv").read_text())
            with api.working():
                answer = client.post("/score", json={"workspace": api.name(folder), "wait_s": 60})
            assert answer.status_code == 200
            assert answer.json()["data"]["metrics"]["f1_macro"] == 1.0
            assert answer.json()["data"]["links"]["self"].startswith(f"http://127.0.0.1:{port}/")
            assert answer.headers["x-request-id"]
            chunked = client.post(
                "/submit", content=iter([b" " * 2**20] * 3), headers={"Content-Type": "application/json"}
            )
            assert chunked.status_code == 413
    finally:
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()
