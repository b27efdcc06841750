"""One writer a home: who works on it holds its lock, and a dead process holds nothing."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from filelock import FileLock, Timeout

from flows.errors import CallfreeError
from flows.settings import Settings


@contextmanager
def lock(settings: Settings, purpose: str) -> Iterator[None]:
    """Hold the home for the block. Raises CallfreeError at once, saying who holds it, when it is taken."""
    settings.make_folders()
    holder = settings.lock.with_name(".lock.holder")
    file_lock = FileLock(settings.lock, timeout=0, mode=0o600)
    try:
        file_lock.acquire()
    except Timeout:
        who = holder.read_text().strip() if holder.is_file() else "another process"
        raise CallfreeError(f"{settings.home} is in use by {who}. Wait until it is done.") from None
    try:
        since = datetime.now().isoformat(sep=" ", timespec="seconds")
        holder.write_text(f"{purpose} (process {os.getpid()} on {socket.gethostname()}, since {since})")
        yield
    finally:
        file_lock.release()
