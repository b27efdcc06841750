"""The house rules that a reader relies on: arrows point one way, and one module does each thing."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.settings import PROJECT

MODULES = sorted(path for room in ("flows", "expectations") for path in (PROJECT / room).rglob("*.py"))
STEPS = [path for path in MODULES if path.parent.name == "steps"]
LEDGER_TABLES = re.findall(
    r"create table if not exists (\w+)", (PROJECT / "flows" / "steps" / "ledger.py").read_text()
)  # fmt: skip


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), name_of(path))


def imported_by(path: Path) -> set[str]:
    """The full names of all that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def those_who_import(package: str) -> set[str]:
    return {
        name_of(path)
        for path in MODULES
        if any(name == package or name.startswith(f"{package}.") for name in imported_by(path))
    }


def calls_of(path: Path) -> Iterator[str]:
    """Every function that is called by a dotted name, as it is written."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def strings_of(path: Path) -> Iterator[str]:
    """Every string of a module, the parts of f-strings too, but not what is said of the code."""
    tree = tree_of(path)
    said = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


# --- Rooms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", STEPS, ids=name_of)
def test_a_step_knows_nothing_of_prefect_and_nothing_of_the_flows(path):
    names = imported_by(path)
    assert [name for name in names if name.split(".")[0].startswith("prefect")] == []
    of_flows = {name for name in names if name.startswith("flows")}
    assert [name for name in of_flows if not name.startswith(("flows.steps", "flows.settings", "flows.errors"))] == []


def test_expectations_know_nothing_of_the_flows():
    assert [name for name in those_who_import("flows") if name.startswith("expectations")] == []


def test_settings_and_errors_know_nothing_of_what_uses_them():
    for module in ("settings", "errors"):
        assert [name for name in imported_by(PROJECT / "flows" / f"{module}.py") if name.startswith("flows")] == []


def test_only_flows_import_prefect():
    flows = {name_of(path) for path in (PROJECT / "flows").glob("*.py")}
    assert those_who_import("prefect") <= flows - {"flows/cli.py", "flows/settings.py", "flows/errors.py"}


def test_a_flow_has_no_sql_and_no_data_frames():
    for path in (PROJECT / "flows").glob("*.py"):
        assert not imported_by(path) & {"duckdb", "pandas", "pyarrow", "numpy"}, name_of(path)
        assert not [text for text in strings_of(path) if re.match(r"\s*(select|insert|update|delete|with)\s", text)]


def test_only_steps_between_the_rooms_call_great_expectations():
    assert {name for name in those_who_import("expectations") if name.startswith("flows")} == {"flows/steps/gates.py"}
    assert {name for name in those_who_import("great_expectations") if name.startswith("flows")} == set()


# --- One module for each thing ------------------------------------------------------------------------------------


def test_one_module_and_the_dialect_open_duckdb():
    assert {name_of(path) for path in MODULES if "duckdb.connect" in set(calls_of(path))} == {
        "flows/steps/warehouse.py",
        "expectations/dialect.py",
    }
    names_of_connect = {name_of(path) for path in MODULES if "duckdb.connect" in imported_by(path)}
    assert names_of_connect == set()


def test_what_is_kept_open_has_the_tables_of_the_ledger():
    assert {name_of(path) for path in MODULES if any(call.endswith("kept_open") for call in calls_of(path))} == {
        "flows/steps/ledger.py"
    }


def test_one_module_calls_dbt():
    assert those_who_import("dbt") == {"flows/steps/transform.py"}


def test_only_the_ledger_writes_the_ledger():
    assert {"deliveries", "decisions", "draws", "members", "enrolments", "batches", "grants", "publications"} <= set(
        LEDGER_TABLES
    )
    writes = re.compile(rf"\binsert\s+into\s+(ledger\.)?({'|'.join(LEDGER_TABLES)})\b", re.IGNORECASE)
    writers = {name_of(path) for path in MODULES if any(writes.search(text) for text in strings_of(path))}
    assert writers == {"flows/steps/ledger.py"}


def test_the_ledger_only_ever_grows():
    shrinks = re.compile(
        rf"\b(update|delete\s+from|drop\s+table|alter\s+table|truncate)\s+(ledger\.)?({'|'.join(LEDGER_TABLES)})\b"
    )
    for path in MODULES:
        assert [text for text in strings_of(path) if shrinks.search(text.lower())] == [], name_of(path)
    for path in (PROJECT / "dbt_project").rglob("*.sql"):
        assert not re.search(r"\b(insert|update|delete|drop)\b[^;]*\bledger\.", path.read_text().lower()), name_of(path)


def test_only_the_edges_of_the_program_ask_the_clock():
    asking = re.compile(r"(datetime\.now|date\.today|datetime\.today|time\.time|datetime\.utcnow)$")
    # When something was recorded, and since when a home is in use, decides nothing.
    assert {name_of(path) for path in MODULES if any(map(asking.search, calls_of(path)))} <= {
        "flows/steps/start.py",
        "flows/steps/ledger.py",
        "flows/steps/home.py",
    }


def sql_templates_of(path: Path) -> Iterator[str]:
    """Every f-string that looks like SQL, and every string that is formatted later, with `{}` for what is put in."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".format"):
            text = ast.unparse(node.func)
        else:
            continue
        if re.search(r"\b(select|insert into|update \w+ set|delete from|attach|create|copy|set) ", text):
            yield text


@pytest.mark.parametrize("path", STEPS, ids=name_of)
def test_sql_gets_its_values_as_parameters(path):
    """Names of tables and columns are put in, since no parameter can hold them; what is quoted would be a value."""
    assert [text for text in sql_templates_of(path) if re.search(r"'[^' ]*\{[^']*'", text)] == []
    joined = [
        ast.unparse(node)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("execute")
        and isinstance(node.args[0], ast.BinOp)
    ]
    assert joined == []


# --- Manners ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_names_a_place_of_this_machine(path):
    places = re.compile(r"(^|[\s'\"=])(/(home|root|tmp|work|usr|var|opt|etc|mnt|data)(/|$)|[A-Z]:\\|~/)")
    assert [text for text in strings_of(path) if places.search(text)] == []


@pytest.mark.parametrize("path", [path for path in MODULES if path.stat().st_size], ids=name_of)
def test_a_module_begins_with_what_it_is_for(path):
    said = ast.get_docstring(tree_of(path))
    assert said, f"{name_of(path)} does not say what it is for"
    assert said[0].isupper() or said[0] == "`"


def test_no_module_is_a_drawer_for_odds_and_ends():
    drawers = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "tools"}
    assert [name_of(path) for path in MODULES if drawers & set(path.stem.split("_"))] == []


def loaded_with(module: str, libraries: list[str]) -> str:
    """Which of the libraries a fresh interpreter has loaded after it has imported the module, as a list's text."""
    asks = f"import sys, {module}; print([name for name in {libraries} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", asks], cwd=PROJECT, capture_output=True, text=True, check=True).stdout


def test_the_command_line_comes_up_without_the_heavy_libraries():
    heavy = ["prefect", "dbt", "great_expectations", "pandas", "duckdb", "pyarrow", "sqlalchemy"]
    assert loaded_with("flows.cli", heavy) == "[]\n"


def test_the_steps_of_a_run_come_up_without_dbt_prefect_and_great_expectations():
    heavy = ["prefect", "dbt", "great_expectations"]
    assert loaded_with("flows.steps.run", heavy) == "[]\n"


PAGES = sorted([PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_and_every_module_that_a_page_names_is_there(page):
    text = page.read_text()
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    missing += [name for name in re.findall(r"`(flows/[\w/]+\.py)`", text) if not (PROJECT / name).exists()]
    assert missing == []
