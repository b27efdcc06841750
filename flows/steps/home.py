"""One writer a home: who works on it holds its lock, and a dead process holds nothing."""

import grp
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from flows.errors import CallfreeError, guarded
from flows.settings import Settings
from flows.steps import crash_points


@contextmanager
def lock(settings: Settings, purpose: str) -> Iterator[None]:
    """Hold the home for the block. Raises CallfreeError at once, saying who holds it, when it is taken.

    What the block writes is for its owner only, whoever called; what is handed out can be given a group.
    """
    with _for_the_owner_only():
        yield from _held(settings, purpose)


def _held(settings: Settings, purpose: str) -> Iterator[None]:
    file_lock = FileLock(settings.lock, timeout=0, mode=0o600)
    try:
        with guarded("opening the home"):
            _acquire(settings, file_lock, purpose)
        crash_points.passed("the home is locked")
        yield
    finally:
        file_lock.release()


def _acquire(settings: Settings, file_lock: FileLock, purpose: str) -> None:
    settings.make_folders()
    holder = settings.lock.with_name(".lock.holder")
    try:
        file_lock.acquire()
    except Timeout:
        who = holder.read_text().strip() if holder.is_file() else "another process"
        raise CallfreeError(f"{settings.home} is in use by {who}. Wait until it is done.") from None
    hand_out(settings)
    since = datetime.now().isoformat(sep=" ", timespec="seconds")
    holder.write_text(f"{purpose} (process {os.getpid()} on {socket.gethostname()}, since {since})")


@contextmanager
def _for_the_owner_only() -> Iterator[None]:
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def hand_out(settings: Settings) -> None:
    """Give the group of `CALLFREE_GROUP` its folders: what lies in them from now on is the group's to read.

    Senders put files into the inbox, billing takes them away from the outbox: both are the group's to write.
    """
    if settings.group is None:
        return
    group = grp.getgrnam(settings.group).gr_gid
    outbox = settings.grants_outbox.parent
    outboxes = [folder for folder in outbox.iterdir() if folder.is_dir()]
    _give(settings.home.absolute(), group, 0o710)
    for folder in (settings.inbox, outbox, *outboxes):
        _give(folder, group, 0o2770)
    _give(settings.published, group, 0o2750)
    for folder in (*outboxes, settings.published):
        for path in folder.iterdir():
            # What another account of the group has put there is not ours to give.
            if path.is_file() and not path.is_symlink() and path.stat().st_uid == os.getuid():
                _give(path, group, 0o640)


def _give(path: Path, group: int, mode: int) -> None:
    try:
        if path.stat().st_gid != group:
            os.chown(path, -1, group)
        if path.stat().st_mode & 0o7777 != mode:
            path.chmod(mode)
    except PermissionError:
        raise CallfreeError(
            f"{path} cannot be given to the group of CALLFREE_GROUP: run under an account that owns it and is a member."
        ) from None
