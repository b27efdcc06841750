"""The same deployments on a Prefect server of one's own, with PostgreSQL, as docs/operations.md says."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import CALLFREE, PROJECT, Api, deliver, environment, until
from flows.environment import answers
from flows.settings import Settings

needed = [name for name in ("initdb", "postgres", "psql") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(needed), reason=f"PostgreSQL is not installed here: no {', '.join(needed)}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(command: list[str], env: dict[str, str], log: Path, user: str | None = None):
    with open(log, "wb") as output:
        process = subprocess.Popen(command, cwd=PROJECT, env=env, stdout=output, stderr=output, user=user)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            # Prefect's worker may lose its event loop over the signal, and wait for ever: not what is tried here.
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def database():
    """The address of a PostgreSQL of its own; the server does not run as root."""
    user = None
    if os.getuid() == 0:
        user = next((name for name in ("postgres", "nobody") if name in {row.pw_name for row in pwd.getpwall()}), None)
        if user is None:
            pytest.skip("PostgreSQL does not run as root, and there is no other account here")
    # Not below pytest's own folder, which other accounts may not enter.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        data = Path(folder) / "data"
        data.mkdir(mode=0o700)
        if user:
            shutil.chown(data, user)
        initdb = ["initdb", "--pgdata", str(data), "--username", "prefect", "--auth", "trust", "--encoding", "UTF8"]
        subprocess.run(initdb, check=True, capture_output=True, user=user, cwd=folder)
        port = free_port()
        server = ["postgres", "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(data)]
        with running(server, dict(os.environ), Path(folder) / "log", user):
            ask = ["psql", "-h", "127.0.0.1", "-p", str(port), "-U", "prefect", "-d", "postgres", "-c"]

            def is_up() -> bool:
                return subprocess.run([*ask, "select 1"], capture_output=True).returncode == 0

            until(is_up, "PostgreSQL does not come up", 30)
            subprocess.run([*ask, "create database prefect"], check=True, capture_output=True)
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/prefect"


def test_the_deployments_run_on_a_server_with_postgresql(database, tmp_path):
    settings = Settings(home=tmp_path / "home")
    deliver(settings, "2017-07-15", "2017-07-16")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    own = environment(
        settings, PREFECT_API_URL=url, PREFECT_HOME=str(tmp_path / "prefect"), PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_API_DATABASE_CONNECTION_URL=database, CALLFREE_ALERT_WEBHOOK="http://127.0.0.1:9/",
    )  # fmt: skip
    prefect = [sys.executable, "-m", "prefect"]
    with running([*prefect, "server", "start", "--port", str(port)], own, tmp_path / "server.log"):
        until(lambda: answers(url), "the server does not come up")
        for _ in range(2):
            done = subprocess.run([*CALLFREE, "deploy"], cwd=PROJECT, env=own, capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert "alert: a run failed" in done.stdout
        api = Api(url)
        assert len(api("/automations/filter", {})) == 4
        worker = [*prefect, "worker", "start", "--pool", "callfree", "--limit", "1"]
        with running(worker, own, tmp_path / "worker.log"):
            run = api.ended(api.start("daily", business_date="2017-07-16"))
            assert (run["name"], run["state_type"]) == ("daily 2017-07-16", "COMPLETED")
        scheduled = until(
            lambda: [run for run in api("/flow_runs/filter", {"limit": 50}) if run["auto_scheduled"]],
            "nothing is scheduled",
        )
        assert scheduled
    assert (settings.grants_outbox / "grants_20170716_01.manifest.json").is_file()
