"""How what is said on standard error looks: plain for people, one JSON object a line for machines."""

import json
import logging
import sys
from datetime import UTC, datetime

import click


class JsonLines(logging.Formatter):
    """Each record as an object: time (UTC), level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        message = record.getMessage()
        return json.dumps({"time": at, "level": record.levelname.lower(), "logger": record.name, "message": message})


def set_up(as_json: bool) -> None:
    """Let the program's own loggers speak on standard error, and others only of errors."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)
    logging.getLogger("callfree").setLevel(logging.INFO)
    if as_json:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())


def tell_error(message: str, as_json: bool) -> None:
    """Say in one line what went wrong."""
    if as_json:
        record = logging.makeLogRecord({"name": "callfree", "levelno": logging.ERROR, "levelname": "ERROR"})
        record.msg = message
        message = JsonLines().format(record)
    else:
        message = f"callfree: {message}"
    click.echo(message, err=True)
