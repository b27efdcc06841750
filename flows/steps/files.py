"""Files that others read: whole under their name, or not there at all."""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from flows.steps import crash_points


def write_whole(path: Path, chunks: Iterable[bytes]) -> str:
    """Write beside, make durable, then rename. Returns the hex SHA-256 of what was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    digest = hashlib.sha256()
    with open(beside, "wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        crash_points.passed("a file is written beside its name")
        os.fsync(file.fileno())
    crash_points.passed("a file is durable beside its name")
    let_the_group_read(beside)
    os.replace(beside, path)
    crash_points.passed("a file has its name")
    sync_folder(path.parent)
    crash_points.passed("a name is durable")
    return digest.hexdigest()


def let_the_group_read(path: Path) -> None:
    """In a folder that was given to a group (`CALLFREE_GROUP`), what is written is the group's to read."""
    if path.parent.stat().st_mode & stat.S_ISGID:
        path.chmod(0o640)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The hex SHA-256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_name(folder: Path, name: str, taken: Iterable[str] = ()) -> str:
    """The name, or the first of `name.2`, `name.3` ... that neither the folder nor `taken` has."""
    others = set(taken)
    candidate, number = name, 1
    while candidate in others or os.path.lexists(folder / candidate):
        number += 1
        candidate = f"{name}.{number}"
    return candidate


def _move_across(source: Path, target: Path) -> None:
    mode = source.lstat().st_mode
    if stat.S_ISREG(mode):
        copy_whole(source, target)
        crash_points.passed("a file is on both file systems")
    elif stat.S_ISLNK(mode):
        target.unlink(missing_ok=True)
        target.symlink_to(os.readlink(source))
    elif stat.S_ISDIR(mode):
        shutil.copytree(source, target, symlinks=True, ignore=_what_holds_nothing, dirs_exist_ok=True)
        shutil.rmtree(source)
        return
    # A pipe, a socket or a device holds nothing that could be kept.
    source.unlink()


def _what_holds_nothing(folder: str, names: list[str]) -> list[str]:
    modes = {name: os.lstat(os.path.join(folder, name)).st_mode for name in names}
    return [
        name for name, mode in modes.items() if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))
    ]


def copy_whole(source: Path, target: Path) -> None:
    """Copy beside, make durable, then rename; for the owner only."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, beside)
    beside.chmod(0o600)
    crash_points.passed("a copy is written beside its name")
    with open(beside, "rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, target)
    crash_points.passed("a copy has its name")
    sync_folder(target.parent)


def put_beside(source: Path, target: Path) -> None:
    """Give a file a second, durable place; the first stays. A copy where the file system cannot link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    crash_points.passed("the second place is free")
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
            raise
        copy_whole(source, target)
    crash_points.passed("a file has a second place")
    sync_folder(target.parent)
    crash_points.passed("a second place is durable")


def move(source: Path, target: Path) -> None:
    """Move whatever is there, be it a file, a folder or a pipe; across file systems too.

    The target is whole or not there. Across file systems the source goes last, so a crash may leave both.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _move_across(source, target)
    crash_points.passed("a file is moved")
    sync_folder(target.parent)
    crash_points.passed("a move is durable")
