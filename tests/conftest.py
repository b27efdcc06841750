"""What all tests share."""

import atexit
import os

# Runs after all else: DuckDB's binding complains of leaks on standard error when a worker ends.
atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))

# Files that take minutes start first, so that no worker is left with one at the end.
LONG = ("test_properties", "test_stories", "test_bank_calls", "test_command_line", "test_recovery")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))
