"""`callfree up`: Prefect's server, the schedule and a worker on this machine, until stopped."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from filelock import FileLock, Timeout

from flows.environment import answers, served, told
from flows.errors import CallfreeError, WrongUsage
from flows.settings import PROJECT, Settings

log = logging.getLogger("callfree.up")

_USUAL_PORT = 4200
_SERVER_STARTS_WITHIN = 180
# A run that goes on is broken off then; the next one goes on where it stopped.
_STOPS_WITHIN = 20


def up(settings: Settings, port: int | None, as_json: bool) -> None:
    """Run until SIGINT or SIGTERM. Raises WrongUsage for a port that is taken, CallfreeError when a part ends."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with _alone(settings):
        port = port or _free_port()
        _check_free(port)
        environment = told_by_us(settings, port, as_json) | {"CALLFREE_PAGES_URL": _serve_pages(settings)}
        url = environment["PREFECT_API_URL"]
        python = [sys.executable, "-m", "prefect"]
        log.info("starting Prefect's server ...")
        with _child("server", [*python, "server", "start"], environment, settings.server_log) as server:
            if not _wait_for(url, server, stop):
                return
            log.info("putting the deployments on it ...")
            deployed = subprocess.run(
                [sys.executable, "-c", "from flows.cli import main; main(prog_name='callfree')", "deploy"],
                cwd=PROJECT, env=environment, capture_output=True, text=True,
            )  # fmt: skip
            if deployed.returncode:
                raise CallfreeError(deployed.stderr.strip().removeprefix("callfree: ") or "The deployments failed.")
            for line in deployed.stdout.splitlines():
                log.info("%s", line.strip())
            worker_command = [*python, "worker", "start", "--pool", "callfree", "--name", "callfree-up", "--limit", "1"]
            with _child("worker", worker_command, environment, None) as worker:
                settings.up_url.write_text(url)
                log.info("callfree is up: http://127.0.0.1:%s (stop with Ctrl-C)", port)
                while not stop.wait(1):
                    for name, process in (("server", server), ("worker", worker)):
                        if process.poll() is not None:
                            raise CallfreeError(
                                f"Prefect's {name} has ended. See {settings.server_log}, then start again."
                            )
                log.info("stopping ...")


def told_by_us(settings: Settings, port: int, as_json: bool) -> dict[str, str]:
    """The environment of the children; where they run is not for the environment to say."""
    own = served(settings, port, as_json)
    fixed = {name: own[name] for name in own if name.startswith(("PREFECT_API", "PREFECT_SERVER_API", "PREFECT_HOME"))}
    # The children work in the project's folder, where a path of ours may name another place.
    paths = {"HOME": settings.home, "POLICY": settings.policy, "BACKUPS": settings.backups_folder}
    return told(own) | fixed | {f"CALLFREE_{name}": str(path.absolute()) for name, path in paths.items()}


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    settings.make_folders()
    file_lock = FileLock(settings.up_url.with_suffix(".lock"), timeout=0, mode=0o600)
    try:
        file_lock.acquire()
    except Timeout:
        url = settings.up_url.read_text().removesuffix("/api") if settings.up_url.is_file() else "still starting"
        raise CallfreeError(f"callfree is up already for {settings.home} ({url}).") from None
    try:
        yield
    finally:
        settings.up_url.unlink(missing_ok=True)
        file_lock.release()


@contextmanager
def _child(name: str, command: list[str], environment: dict[str, str], output: Path | None) -> Iterator:
    """A process in a group of its own, gone with all it started when the block ends."""
    with ExitStack() as files:
        process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, start_new_session=True,
            stdout=files.enter_context(open(output, "wb")) if output else sys.stderr, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            log.warning("Prefect's %s does not stop by itself.", name)
        # Its group may outlive it: a run that goes on.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _serve_pages(settings: Settings) -> str:
    """Serve `reports/`, which names no person, for the links on the runs' pages. Returns where."""
    handler = partial(_Pages, directory=str(settings.reports))
    pages = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{pages.server_port}"


class _Pages(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Who looks at a page is nobody's business."""


def _wait_for(url: str, server: subprocess.Popen, stop: threading.Event) -> bool:
    """Whether the server has come up, before anyone said stop."""
    until = time.monotonic() + _SERVER_STARTS_WITHIN
    while not answers(url):
        if server.poll() is not None or time.monotonic() > until:
            raise CallfreeError("Prefect's server did not come up: see .work/prefect/server.log below the home folder.")
        if stop.wait(0.5):
            return False
    return True


def _free_port() -> int:
    """The usual port, or any that is free."""
    for port in (_USUAL_PORT, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return probe.getsockname()[1]
    raise CallfreeError("No port is free.")


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise WrongUsage(f"Port {port} is taken: name another with --port.") from None
