"""Trials with real servers: too slow for `make test`, they have a target of their own, `make test-prefect`."""

import json
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from flows.settings import PROJECT, Settings

HEADERS = {
    "subscribers": "subscriber_id,msisdn,email,brand,status,marketing_consent,changed_at\n",
    "app_events": "event_id,subscriber_id,event_type,occurred_at\n",
    "calls": "call_id,record_version,subscriber_id,msisdn,direction,line,started_at,duration_s,outcome,voided\n",
}


def deliver(settings: Settings, *days: str) -> None:
    """Deliveries of the days: three subscribers on the first, and nothing after."""
    settings.make_folders()
    for number, day in enumerate(days):
        for feed, header in HEADERS.items():
            rows = ""
            if feed == "subscribers" and number == 0:
                rows = "".join(
                    f"{who},+491765500000{at},{who}@example.org,o2,active,true,2017-07-01T08:00:00+02:00\n"
                    for at, who in enumerate(("anna", "bert", "carl"))
                )
            (settings.inbox / f"{feed}_{day.replace('-', '')}.csv").write_text(header + rows)


class Receivers:
    """What came in by the webhook, and by mail."""

    def __init__(self) -> None:
        self.posted: list[dict] = []
        self.mailed: list[str] = []


@pytest.fixture(scope="module")
def receivers() -> Iterator[Receivers]:
    found = Receivers()

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self):
            found.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    class Mail(socketserver.StreamRequestHandler):
        """As much of SMTP as it takes to receive a mail."""

        def handle(self):
            def say(line: str) -> None:
                self.wfile.write(f"{line}\r\n".encode())

            say("220 here")
            while line := self.rfile.readline().decode().strip():
                word = line.split()[0].upper()
                if word == "DATA":
                    say("354 go on")
                    text = ""
                    while (part := self.rfile.readline().decode()) not in (".\r\n", ""):
                        text += part
                    found.mailed.append(text)
                say("221 bye" if word == "QUIT" else "250 ok")
                if word == "QUIT":
                    return

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Webhook), socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    found.webhook = f"http://127.0.0.1:{servers[0].server_address[1]}/alerts"
    found.email = f"mailto://127.0.0.1:{servers[1].server_address[1]}?from=callfree@example.org&to=ops@example.org"
    yield found
    for server in servers:
        server.shutdown()


class Api:
    """A Prefect server by its HTTP interface."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, path: str, body: dict | None = None, method: str = "POST"):
        request = Request(
            f"{self.url}{path}", method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        content = until(lambda: self._answered(request), f"{method} {path}: the server stays too busy", 60)
        return json.loads(content[0]) if content[0] else None

    def _answered(self, request: Request) -> tuple[bytes] | None:
        """What the server says, None while its database is locked: that is a 503, and Prefect's client asks again."""
        try:
            with urlopen(request, timeout=30) as answer:
                return (answer.read(),)
        except HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            return None

    def start(self, deployment: str, **parameters) -> str:
        found = self(f"/deployments/name/{deployment}/{deployment}", method="GET")
        return self(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"]

    def run(self, run_id: str) -> dict:
        return self(f"/flow_runs/{run_id}", method="GET")

    def ended(self, run_id: str) -> dict:
        """The run, once it has ended."""
        return until(lambda: (run := self.run(run_id))["end_time"] and run, f"run {run_id} does not end")


def until(ask: Callable[[], object], otherwise: str, seconds: float = 400):
    """What is asked for, once it is there."""
    latest = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < latest, otherwise
        time.sleep(0.5)
    return found


def environment(settings: Settings, **more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "CALLFREE_"))}
    return own | {"CALLFREE_HOME": str(settings.home)} | more


CALLFREE = [sys.executable, "-c", "from flows.cli import main; main(prog_name='callfree')"]


@contextmanager
def callfree_up(settings: Settings, log: Path, **more: str) -> Iterator[tuple[Api, subprocess.Popen]]:
    """`callfree up` as a process of its own, stopped as a person would."""
    settings.make_folders()
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [*CALLFREE, "up", *(["--port", more.pop("port")] if "port" in more else [])],
            cwd=PROJECT, env=environment(settings, **more), stdout=output, stderr=output,
        )  # fmt: skip
    try:
        until(lambda: process.poll() is not None or "callfree is up" in log.read_text(), "it does not come up")
        assert process.poll() is None, log.read_text()
        port = re.search(r"callfree is up: http://127.0.0.1:(\d+)", log.read_text())[1]
        yield Api(f"http://127.0.0.1:{port}/api"), process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def processes_of(text: str) -> list[str]:
    """The command lines of processes whose environment holds the text."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if text.encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                pass
    return found
