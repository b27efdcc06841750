"""What the processes of a run share: what Prefect reads when it is imported, and how they end."""

import atexit
import logging
import os

from flows.settings import Settings


def embedded(settings: Settings) -> dict[str, str]:
    """For a run by the command line: quiet, and on the server of `callfree up` where that goes on."""
    served = url_of_up(settings)
    return _everywhere(settings) | {
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "60",
        **({"PREFECT_API_URL": served} if served else {}),
    }


def served(settings: Settings, port: int, as_json: bool) -> dict[str, str]:
    """For the server, the worker and the runs of `callfree up`."""
    return _everywhere(settings) | {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # The record of runs and their logs goes after 90 days, so that the database stays as small as it is.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs,orphans",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_COLORS": "false",
        **({"PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER": "json"} if as_json else {}),
    }


def _everywhere(settings: Settings) -> dict[str, str]:
    return {
        "PREFECT_HOME": str(settings.work / "prefect"),
        "PREFECT_LOGGING_EXTRA_LOGGERS": "callfree",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def has_server(settings: Settings) -> bool:
    """Whether a run finds a Prefect server: one that is named, that of `callfree up`, or one to be started for it.

    Starting one takes some ten seconds, and what it records is seen by nobody before a server is up: so a run starts
    none by itself, unless Prefect's own setting asks for it.
    """
    is_asked_for = os.environ.get("PREFECT_SERVER_EPHEMERAL_ENABLED", "").lower() in ("true", "1", "yes", "on")
    return "PREFECT_API_URL" in os.environ or is_asked_for or url_of_up(settings) is not None


def url_of_up(settings: Settings) -> str | None:
    """Where the server of this home's `callfree up` answers, if it does."""
    if not settings.up_url.is_file():
        return None
    url = settings.up_url.read_text().strip()
    return url if answers(url) else None


def answers(url: str) -> bool:
    """Whether a Prefect server is up there."""
    from urllib.request import urlopen

    try:
        with urlopen(f"{url}/health", timeout=2) as answer:
            return answer.status == 200
    except (OSError, ValueError):
        return False


def told(values: dict[str, str]) -> dict[str, str]:
    """The environment with the values put in where it does not say otherwise."""
    return values | os.environ


def begin_deployed() -> None:
    """What a run does first in a process that a worker started, as the command line does for its own."""
    atexit.register(silence)
    os.umask(0o077)
    logging.getLogger("callfree").setLevel(logging.INFO)


def silence() -> None:
    """For the very end of a process: DuckDB's binding then complains of leaks on standard error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
