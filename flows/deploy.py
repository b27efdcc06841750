"""The deployments of `prefect.yaml` and the alerts, put on a Prefect server: that of `callfree up`, or your own."""

import subprocess
import sys

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound

from flows import alerts
from flows.errors import CallfreeError
from flows.settings import PROJECT, Settings

POOL = "callfree"
# One home has one writer: whatever is asked for meanwhile queues.
_LIMIT = 1


def deploy(settings: Settings) -> list[str]:
    """Put the work pool, the deployments and the alerts on the server. Returns what it did, a line each.

    It may be repeated: what is there is made to be as it should. Raises CallfreeError where the server says no.
    """
    try:
        with get_client(sync_client=True) as client:
            _put_pool(client)
            _put_deployments()
            names = alerts.put(client, settings)
            deployments = sorted(deployment.name for deployment in client.read_deployments())
    except CallfreeError:
        raise
    except Exception as error:
        raise CallfreeError(f"The Prefect server did not take the deployments ({type(error).__name__}).") from error
    told = [f"work pool {POOL}, one run at a time", f"deployments {', '.join(deployments)}"]
    return [*told, *(f"alert: {name.removeprefix('callfree: ')}" for name in names)]


def _put_pool(client: SyncPrefectClient) -> None:
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process", concurrency_limit=_LIMIT))
    else:
        client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=_LIMIT))


def _put_deployments() -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "prefect.yaml"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise CallfreeError(f"prefect.yaml could not be deployed: {said[-1] if said else 'no reason given'}.")
