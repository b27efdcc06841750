"""What all tests share."""

import atexit
import os
from pathlib import Path

import pytest

import reliability
from flows.steps.transform import compile_beforehand

# Runs after all else: DuckDB's binding complains of leaks on standard error when a worker ends.
atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))

# Files that take minutes start first, so that no worker is left with one at the end.
LONG = ("test_properties", "test_stories", "test_bank_calls", "test_command_line", "test_recovery")


def pytest_configure(config):
    """The models are compiled once, before any worker starts."""
    if not hasattr(config, "workerinput"):
        compile_beforehand()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="session")
def stage(tmp_path_factory):
    """The home of the faults, whose states are made once."""
    from fault_stage import Stage

    return Stage(tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="session")
def book_stage(tmp_path_factory):
    """The same without dbt and Great Expectations, where only landing and publishing matter."""
    from fault_stage import Stage
    from fault_world import BookHome

    return Stage(tmp_path_factory.mktemp("book_stage"), BookHome)


@pytest.fixture
def tried(request):
    """Counts cases that went right, under the promise that the test is marked with: `tried(what, cases)`."""
    return lambda what, cases: request.node.user_properties.append(("tried", (what, cases)))


def pytest_runtest_setup(item):
    marker = item.get_closest_marker("promise")
    if marker:
        item.user_properties.append(("promise", marker.args[0]))


def pytest_terminal_summary(terminalreporter, exitstatus):
    """The table of promises, where it was asked for; on the page only when all went well. A worker knows but a part."""
    page = os.environ.get("CALLFREE_RELIABILITY_PAGE")
    if page and not hasattr(terminalreporter.config, "workerinput"):
        figures = reliability.table(terminalreporter.stats)
        terminalreporter.write_line("\n" + figures)
        if exitstatus == 0:
            reliability.write(Path(page), figures)


@pytest.fixture
def no_gates(monkeypatch):
    """A landing without Great Expectations, which is the subject elsewhere."""
    from flows.steps import gates

    monkeypatch.setattr(gates, "require_landing", lambda *_: None)
