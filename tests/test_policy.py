"""The policy is data: what is broken is named to the cell, and what was used stays as it was (1.2)."""

from datetime import date
from pathlib import Path

import pytest

from flows.errors import WrongUsage
from flows.settings import DEFAULT_POLICY, Settings
from flows.steps import ledger, policy, raw_tables, transform
from flows.steps.derivation import derive
from flows.steps.warehouse import connect

SOUND = {
    "terms": "terms_id,welcome_mb,quarters,min_contact_seconds,settlement_days,enrolment_days,max_attempts\n"
    "pilot-2017,600,3,10,2,90,3\nlater,500,4,0,0,30,1\n",
    "reward_tiers": "terms_id,streak,mb_per_month\npilot-2017,1,100\npilot-2017,2,200\nlater,1,50\n",
    "waves": "wave_id,terms_id,invite_on,treatment_size,control_size,seed,brands\n"
    "first,pilot-2017,2017-07-17,20,10,any,*\nsecond,later,2017-10-01,5,0,,o2|blau\n",
    "hotline_lines": "line,valid_from,counts,label\n"
    "service,2000-01-01,true,customer service\nservice,2017-10-01,false,closed\n",
    "contact_outcomes": "outcome,valid_from,counts,label\nanswered,2000-01-01,true,\n",
}
RUN = date(2017, 8, 1)


def written(folder: Path, **changed: str | bytes | None) -> Path:
    """The sound policy in a folder, but for some files; None leaves one out."""
    for name, text in (SOUND | changed).items():
        path = folder / f"{name}.csv"
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def replaced(name: str, old: str, new: str) -> dict[str, str]:
    assert old in SOUND[name]
    return {name: SOUND[name].replace(old, new, 1)}


def complaint(folder: Path, **changed: str | bytes | None) -> str:
    with pytest.raises(WrongUsage) as caught:
        policy.load(written(folder, **changed))
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_default_policy_is_the_pilots():
    loaded = policy.load(DEFAULT_POLICY)
    (terms,) = loaded.terms
    assert (terms.terms_id, terms.welcome_mb, terms.quarters, terms.max_attempts) == ("pilot-2017", 600, 3, 3)
    assert (terms.min_contact_seconds, terms.settlement_days, terms.enrolment_days) == (10, 2, 90)
    assert [(tier.streak, tier.mb_per_month) for tier in loaded.reward_tiers] == [(1, 100), (2, 200), (3, 300)]


@pytest.mark.parametrize(
    ("name", "old", "new", "file_name", "row", "column"),
    [
        ("terms", "600", "six hundred", "terms.csv", 1, "welcome_mb"),
        ("terms", "600", "-600", "terms.csv", 1, "welcome_mb"),
        ("terms", "600", "600.0", "terms.csv", 1, "welcome_mb"),
        ("terms", "600", "", "terms.csv", 1, "welcome_mb"),
        ("terms", "600", " 600", "terms.csv", 1, "welcome_mb"),
        ("terms", "600", "1_000", "terms.csv", 1, "welcome_mb"),
        ("terms", "600", "1234567890", "terms.csv", 1, "welcome_mb"),
        ("terms", "600,3,", "600,0,", "terms.csv", 1, "quarters"),
        ("terms", "600,3,", "600,101,", "terms.csv", 1, "quarters"),
        ("terms", ",90,3", ",90,0", "terms.csv", 1, "max_attempts"),
        ("terms", "later", "pilot-2017", "terms.csv", 2, "terms_id"),
        ("terms", "later", "", "terms.csv", 2, "terms_id"),
        ("terms", "later,", "too late,", "terms.csv", 2, "terms_id"),
        ("terms", "later,500,4,0,0,30,1", "later,500,4", "terms.csv", 2, "min_contact_seconds"),
        ("terms", "later,500,4,0,0,30,1", "later,500,4,0,0,30,1,9", "terms.csv", 2, "max_attempts"),
        ("reward_tiers", "pilot-2017,1", "pilot-2018,1", "reward_tiers.csv", 1, "terms_id"),
        ("reward_tiers", "pilot-2017,1", "pilot-2017,0", "reward_tiers.csv", 1, "streak"),
        ("reward_tiers", "pilot-2017,2", "pilot-2017,1", "reward_tiers.csv", 2, "streak"),
        ("reward_tiers", "later,1,50", "later,1,fifty", "reward_tiers.csv", 3, "mb_per_month"),
        ("waves", "2017-07-17", "17.07.2017", "waves.csv", 1, "invite_on"),
        ("waves", "2017-07-17", "2017-02-29", "waves.csv", 1, "invite_on"),
        ("waves", "2017-07-17", "20170717", "waves.csv", 1, "invite_on"),
        ("waves", "2017-07-17", "2017-W29-1", "waves.csv", 1, "invite_on"),
        ("waves", "20,10", "twenty,10", "waves.csv", 1, "treatment_size"),
        ("waves", "5,0", "0,0", "waves.csv", 2, "treatment_size"),
        ("waves", "second", "first", "waves.csv", 2, "wave_id"),
        ("waves", "second", "../second", "waves.csv", 2, "wave_id"),
        ("waves", "second,later", "second,never", "waves.csv", 2, "terms_id"),
        ("waves", "o2|blau", "o2||blau", "waves.csv", 2, "brands"),
        ("waves", "o2|blau", "o2|*", "waves.csv", 2, "brands"),
        ("waves", "o2|blau", "", "waves.csv", 2, "brands"),
        ("hotline_lines", "2000-01-01,true", "2000-01-01,yes", "hotline_lines.csv", 1, "counts"),
        ("hotline_lines", "2000-01-01,true", "2000-01-01,TRUE", "hotline_lines.csv", 1, "counts"),
        ("hotline_lines", "2000-01-01", "", "hotline_lines.csv", 1, "valid_from"),
        ("hotline_lines", "2017-10-01", "2000-01-01", "hotline_lines.csv", 2, "valid_from"),
        ("hotline_lines", "service", "", "hotline_lines.csv", 1, "line"),
        ("contact_outcomes", "answered", "", "contact_outcomes.csv", 1, "outcome"),
        ("contact_outcomes", "true", "", "contact_outcomes.csv", 1, "counts"),
    ],
)
def test_a_broken_cell_is_named_by_file_row_and_column(tmp_path, name, old, new, file_name, row, column):
    told = complaint(tmp_path, **replaced(name, old, new))
    assert told.startswith(f"The policy is broken: {file_name}, row {row}, column {column}: ")


@pytest.mark.parametrize("name", SOUND)
def test_a_file_that_is_missing_is_named(tmp_path, name):
    assert f"The policy lacks {name}.csv" in complaint(tmp_path, **{name: None})


@pytest.mark.parametrize("name", SOUND)
def test_a_column_that_is_missing_doubled_or_unknown_is_named(tmp_path, name):
    header, _, rest = SOUND[name].partition("\n")
    *others, last = header.split(",")
    assert f"{name}.csv needs the column {last} once" in complaint(tmp_path, **{name: ",".join(others) + "\n"})
    assert f"{name}.csv needs the column {last} once" in complaint(tmp_path, **{name: f"{header},{last}\n"})
    assert f"{name}.csv has a column that nobody knows: odd" in complaint(tmp_path, **{name: f"{header},odd\n{rest}"})
    assert f"{name}.csv needs the column {header.split(',')[0]} once" in complaint(tmp_path, **{name: ""})


@pytest.mark.parametrize("content", [b"\xff", b'"', b'line,valid_from,counts,label\n"a"b,,,\n'])
def test_a_file_that_is_no_csv_is_named(tmp_path, content):
    assert "hotline_lines.csv cannot be read as CSV in UTF-8" in complaint(tmp_path, hotline_lines=content)


def test_a_policy_may_come_with_a_mark_in_any_order_and_with_windows_line_ends(tmp_path):
    plain = policy.load(written(tmp_path))
    lines = "\ufeff\n" + "counts,label,line,valid_from\ntrue,x,service,2000-01-01\n\nfalse,,service,2017-10-01\n"
    changed = policy.load(written(tmp_path, hotline_lines=lines.replace("\n", "\r\n")))
    assert [(row.line, row.valid_from, row.counts) for row in changed.hotline_lines] == [
        (row.line, row.valid_from, row.counts) for row in plain.hotline_lines
    ]


# --- What was used ------------------------------------------------------------------------------------------------


def check(folder: Path, **changed: str) -> None:
    """A run after the first wave was drawn in the run for RUN, with the policy changed since."""
    before = policy.load(written(folder)).used(["first"], RUN)
    policy.check_unchanged(before, policy.load(written(folder, **changed)).used(["first"], RUN))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (replaced("terms", "600", "601"), "terms.csv, pilot-2017: welcome_mb was 600 and is 601"),
        (replaced("terms", ",90,3", ",90,4"), "terms.csv, pilot-2017: max_attempts was 3 and is 4"),
        (replaced("reward_tiers", "200", "250"), "reward_tiers.csv, pilot-2017, 2: mb_per_month was 200 and is 250"),
        (replaced("reward_tiers", "pilot-2017,2,200\n", ""), "reward_tiers.csv, pilot-2017, 2: is gone"),
        (
            replaced("reward_tiers", "later,1", "pilot-2017,3,300\nlater,1"),
            "reward_tiers.csv, pilot-2017, 3: was added",
        ),
        (replaced("waves", "20,10", "20,11"), "waves.csv, first: control_size was 10 and is 11"),
        (replaced("waves", "any", "other"), "waves.csv, first: seed was any and is other"),
        (replaced("waves", "2017-07-17", "2017-07-18"), "waves.csv, first: invite_on was 2017-07-17 and is 2017-07-18"),
        (replaced("waves", "*", "o2"), "waves.csv, first: brands was * and is o2"),
        (
            replaced("waves", "first,pilot-2017", "first,later"),
            "waves.csv, first: terms_id was pilot-2017 and is later",
        ),
        (replaced("waves", "first,pilot-2017,2017-07-17,20,10,any,*\n", ""), "waves.csv, first: is gone"),
        (
            replaced("hotline_lines", "2000-01-01,true", "2000-01-01,false"),
            "hotline_lines.csv, service, 2000-01-01: counts was True and is False",
        ),
        (
            replaced("hotline_lines", "2000-01-01", "2000-01-02"),
            "hotline_lines.csv, service, 2000-01-01: is gone",
        ),
        (
            {"hotline_lines": SOUND["hotline_lines"] + "tech,2017-08-01,true,\n"},
            "hotline_lines.csv, tech, 2017-08-01: was added",
        ),
        (
            replaced("contact_outcomes", "answered,2000-01-01,true,\n", ""),
            "contact_outcomes.csv, answered, 2000-01-01: is gone",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_used_row_that_is_changed_gone_or_added_is_named(tmp_path, changed, told):
    with pytest.raises(WrongUsage) as caught:
        check(tmp_path, **changed)
    assert str(caught.value) == (
        f"The policy was changed after it was used: {told}. Put it back; a correction is a new row that starts later."
    )


@pytest.mark.parametrize(
    "changed",
    [
        replaced("hotline_lines", "customer service", "renamed"),
        replaced("contact_outcomes", "true,", "true,explained"),
        replaced("waves", "second,later,2017-10-01,5", "second,pilot-2017,2017-11-01,7"),
        replaced("waves", "second,later,2017-10-01,5,0,,o2|blau\n", ""),
        {"waves": SOUND["waves"] + "third,later,2018-01-01,1,1,x,*\n"},
        replaced("terms", "later,500", "later,555"),
        replaced("reward_tiers", "later,1,50", "later,1,55\nlater,2,60"),
        replaced("hotline_lines", "2017-10-01,false", "2017-10-01,true"),
        {"hotline_lines": SOUND["hotline_lines"] + "tech,2017-08-02,true,\n"},
        {"contact_outcomes": SOUND["contact_outcomes"] + "abandoned,2017-08-02,false,\n"},
        {name: "\ufeff" + text.replace("\n", "\r\n") for name, text in SOUND.items()},
    ],
    ids=[
        "label of a line", "label of an outcome", "wave not drawn", "wave not drawn gone", "wave added",
        "terms not in use", "tiers not in use", "line that starts later", "line added for later",
        "outcome added for later", "other bytes",
    ],
)  # fmt: skip
def test_what_was_not_used_may_change(tmp_path, changed):
    check(tmp_path, **changed)


def test_before_the_first_run_everything_may_change(tmp_path):
    assert policy.load(written(tmp_path)).used([], None) == {}


def test_the_models_get_the_policy_as_it_was_checked(tmp_path, monkeypatch):
    odd = [
        ("it's", '"quoted", with a comma'), ("semi;colon", "two\nlines"), ("0123", "a | b"), (" ", "tab\there"),
        ("null", "ä€"), ("1e5", "'"), ("true", "\\"),
    ]  # fmt: skip
    rows = [f'"{line}",2000-01-01,true,"{label.replace(chr(34), chr(34) * 2)}"\n' for line, label in odd]
    waves = SOUND["waves"].replace(",any,", ",0017,").replace("2017-10-01,5,0,,", "2017-10-01,5,0, ',")
    settings = Settings(home=tmp_path / "home", policy=tmp_path)
    settings.make_folders()
    loaded = policy.load(
        written(tmp_path, hotline_lines=SOUND["hotline_lines"].split("\n")[0] + "\n" + "".join(rows), waves=waves)
    )
    with ledger.open_ledger(settings):
        pass
    with connect(settings.warehouse) as connection:
        raw_tables.create_raw_tables(connection)
    # The seeds are enough here.
    compiled = transform.compiled
    monkeypatch.setattr(
        transform, "compiled", lambda settings: [node for node in compiled(settings) if node.kind == "seed"]
    )
    derive(settings, loaded)
    with connect(settings.warehouse) as connection:
        lines = connection.execute("select line, coalesce(label, '') from policy.hotline_lines").fetchall()
        seeds = connection.execute("select coalesce(seed, '') from policy.waves order by wave_id").fetchall()
        terms = connection.execute("from policy.terms order by terms_id desc").fetchall()
    assert sorted(lines) == sorted(odd)
    assert seeds == [("0017",), (" '",)]
    assert terms == [("pilot-2017", 600, 3, 10, 2, 90, 3), ("later", 500, 4, 0, 0, 30, 1)]
