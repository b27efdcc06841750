"""What a command imports, and what it does without."""

import subprocess
import sys

import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, get_current_settings, temporary_settings

from flows import watched

_LIBRARIES = [
    ("prefect", "left_out_of_prefect"),
    ("expectations.check", "left_out_of_great_expectations"),
    ("statsmodels.api", "left_out_of_statsmodels"),
]

_IMPORTED = """
import sys
import {library}
from flows.steps import lean_imports
print(*set(lean_imports.{left_out}()) - set(sys.modules))
"""
_IMPORTED_LEAN = """
import sys
from importlib import import_module
from flows.steps import lean_imports
left_out = lean_imports.{left_out}()
with lean_imports.imported_lean(left_out):
    import {library}
print(*(name for name in left_out if import_module(name) is left_out[name]))
"""


def said_by(program: str) -> list[str]:
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return told.stdout.split()


@pytest.mark.parametrize(("library", "left_out"), _LIBRARIES)
def test_each_that_is_left_out_would_be_imported(library, left_out):
    assert said_by(_IMPORTED.format(library=library, left_out=left_out)) == []


@pytest.mark.parametrize(("library", "left_out"), _LIBRARIES)
def test_a_library_does_without_and_whoever_needs_it_gets_the_real_one(library, left_out):
    assert said_by(_IMPORTED_LEAN.format(library=library, left_out=left_out)) == []


_FIGURES = """
import sys
from fractions import Fraction
from flows.steps.experiment import Sample, difference, independence_p, mean, relative, share, welch_p
arms = Sample(900, Fraction(2), Fraction(1)), Sample(100, Fraction(3), Fraction(2))
share(3, 7), mean(arms[0]), difference(*arms), relative(*arms), welch_p(*arms)
independence_p((30, 870), (20, 80)), independence_p((0, 900), (0, 100))
print(*{"scipy.stats"} & set(sys.modules))
"""


def test_the_figures_of_a_run_do_without_the_slow_half_of_scipy():
    assert said_by(_FIGURES) == []


def test_a_commands_flow_sends_no_heartbeat(monkeypatch):
    heartbeats = []

    def flow(job, **_names):
        def call():
            heartbeats.append(get_current_settings().flows.heartbeat_frequency)
            return job()

        return call

    monkeypatch.setattr(watched, "flow", flow)
    with temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        assert get_current_settings().flows.heartbeat_frequency == 30
        assert watched.watched_flow("daily", "a day", lambda: "done") == "done"
    assert heartbeats == [None]
