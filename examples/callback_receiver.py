"""A receiver of AutoScorer's callbacks: verifies each, prints it, answers. Only Python's standard library.

    python examples/callback_receiver.py --port 9000 --secret-file PATH

The secret is your organisation's: `autoscorer callbacks secret` or `GET /api/v1/callbacks/secret` tells it to
organisers. Take `verify` into your platform as it is; the libraries of https://www.standardwebhooks.com/
do the same.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOLERANCE_S = 300  # how old a message may be: what was recorded cannot be played again later
MAX_BYTES = 8 * 2**20


def verify(headers, body, secret, *, now_s=None):
    """The message in ``body`` (bytes). Raises ValueError unless it is AutoScorer's, and fresh.

    Look at nothing in it before: anybody can write to this address.
    """
    message_id, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent_at.isdecimal() or abs((time.time() if now_s is None else now_s) - int(sent_at)) > TOLERANCE_S:
        raise ValueError("the timestamp is missing, too old, or in the future")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{sent_at}.".encode() + body, hashlib.sha256)
    expected = b"v1," + base64.b64encode(digest)
    given = headers.get("webhook-signature", "").encode("latin-1", "replace").split(b" ")
    if not any(hmac.compare_digest(expected, one) for one in given):  # several while a secret is replaced
        raise ValueError("the signature is not AutoScorer's")
    return json.loads(body)


def make_handler(secret, on_message):
    """A request handler that gives every message to ``on_message(callback_id, message)`` once."""
    seen = set()  # in your platform: a unique column of your database, written with what you do

    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_POST(self):
            length = self.headers.get("content-length", "")
            if not length.isdecimal() or int(length) > MAX_BYTES:
                self.answer(413)
                return
            body = self.rfile.read(int(length))
            try:
                message = verify(self.headers, body, secret)
            except ValueError as exc:
                self.log_message("refused: %s", exc)
                self.answer(401)
                return
            callback_id = self.headers["webhook-id"]
            if callback_id not in seen:  # a message may come twice, under the same id
                on_message(callback_id, message)
                seen.add(callback_id)  # only now: if that fails, AutoScorer sends it again
            self.answer(204)

        def answer(self, status):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler


def print_message(callback_id, message):
    data, meta, error = message["data"], message["meta"], message["error"]
    if message["ok"]:
        print(f"{meta['task_id']} succeeded: {json.dumps(data.get('summary', {}))}", flush=True)
    else:
        print(f"{meta['task_id']} failed: {error['code']}: {error['message']}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--secret-file", type=Path, help="without it: the environment's CALLBACK_SECRET")
    given = parser.parse_args()
    secret = given.secret_file.read_text().strip() if given.secret_file else os.environ["CALLBACK_SECRET"]
    with ThreadingHTTPServer((given.host, given.port), make_handler(secret, print_message)) as server:
        print(f"listening at http://{given.host}:{server.server_port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
