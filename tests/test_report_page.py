"""The report says what there is to say, in its order, and says why where there is nothing to say."""

import re
from html.parser import HTMLParser

import pytest

from flows.settings import Settings
from flows.steps import report_charts
from flows.steps.experiment import Moments, difference
from flows.steps.report_page import render, report_prices, report_wave
from pilots import NOBODY, crowd, member, pilot

QUESTIONS = [
    "Is the pilot healthy?",
    "Does it work?",
    "For whom does it work?",
    "What does it cost?",
    "What is owed?",
]


def wave_of(facts):
    return report_wave(facts.waves[0], facts, report_prices(Settings()))


def page_of(facts):
    prices = report_prices(Settings())
    waves = tuple(report_wave(wave, facts, prices) for wave in facts.waves)
    return render(facts.business_date, waves, prices.calls_per_line_year)


def answers(facts):
    return {section.question: section.answer for section in wave_of(facts).sections}


class Outline(HTMLParser):
    """What a reader, and a screen reader, finds in a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attributes)))

    def of(self, tag):
        return [attributes for name, attributes in self.attributes if name == tag]


@pytest.fixture(scope="module")
def healthy():
    return pilot(crowd())


@pytest.fixture(scope="module")
def page(healthy):
    return page_of(healthy)


# --- The page -----------------------------------------------------------------------------------------------------


def test_it_answers_the_five_questions_in_their_order(page):
    assert [title for title in re.findall(r"<h3[^>]*>(.*?)</h3>", page)] == QUESTIONS


def test_it_needs_no_network_and_no_script(page):
    outline = Outline(page)
    assert not {"script", "iframe", "img", "object", "embed", "form"} & set(outline.tags)
    assert [link["href"] for link in outline.of("link")] == ["data:,"]
    assert "@import" not in page
    places = re.findall(r"https?://[^\"'\s<]+", page)
    assert set(places) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert re.findall(r"url\((?!#)[^)]*\)", page) == []


def test_every_chart_has_a_name_a_description_and_its_data_as_a_table(page):
    outline = Outline(page)
    figures = re.findall(r"<figure>.*?</figure>", page, re.DOTALL)
    charts = [svg for svg in outline.of("svg") if svg.get("role") == "img"]
    assert len(figures) == len(charts) >= 8
    for figure in figures:
        assert re.search(r"<title id=[^>]*>[^<]+</title><desc id=[^>]*>[^<]+</desc>", figure)
        assert figure.count("<table>") == 1
        assert figure.count('<th scope="row">') >= 1


def test_tables_name_their_columns_and_rows(page):
    outline = Outline(page)
    assert {th.get("scope") for th in outline.of("th")} == {"col", "row"}
    assert outline.of("html") == [{"lang": "en"}]
    assert page.count("<caption>") == page.count("<table>") - 1  # the list of waves is named by its navigation


def test_no_two_things_have_the_same_id_and_every_reference_leads_somewhere(healthy):
    page = render(healthy.business_date, (wave_of(healthy),) * 2, 2.5)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    referred = {name for names in re.findall(r'aria-labelledby="([^"]+)"', page) for name in names.split()}
    referred |= set(re.findall(r'(?:href="|url\()#([^")]+)', page))
    assert referred <= set(ids)


def test_charts_take_their_colours_from_the_style_sheet(page):
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', svg))
        assert not {colour for colour in colours if colour.startswith("#")} - {"#000", "#fff"}, colours
        assert any("var(--" in colour or colour == "currentColor" for colour in colours)


def test_what_a_source_wrote_cannot_become_part_of_the_page():
    evil = '<script>alert("o2")</script>'
    found = page_of(pilot([member(arm, evil, y, y) for arm in ("treatment", "control") for y in (0, 1, 2)]))
    assert "<script" not in found
    assert "&lt;script&gt;" in found


# --- What it says -------------------------------------------------------------------------------------------------


@pytest.fixture
def without_charts(monkeypatch):
    """Sentences do not depend on pictures, which take most of the time."""
    monkeypatch.setattr(report_charts, "_svg", lambda *_: '<svg viewBox="0 0 1 1"></svg>')


def test_a_pilot_that_works_is_told_as_such(without_charts):
    found = wave_of(pilot(crowd(2000, 1000, -0.4)))
    assert found.state == "good"
    assert found.verdict.startswith("Can be judged today: treatment calls less")
    # The p of groups are no leave to look every day.
    assert found.sections[2].answer.endswith("The tests are for one look, on a day named beforehand.")


def test_before_the_window_closes_a_fixed_interval_is_not_enough(without_charts):
    # Somewhere between no effect and a clear one the fixed interval leaves out 0 and the other does not.
    verdicts = [wave_of(pilot(crowd(600, 300, effect))).verdict for effect in (-0.1, -0.15, -0.2, -0.25)]
    assert any("holds for one look" in verdict for verdict in verdicts)


def test_when_the_window_has_closed_the_fixed_interval_counts(without_charts):
    found = wave_of(pilot(crowd(600, 300, 0.0), window_days=455)).verdict
    assert found.startswith("Can be judged: the window has closed")


def test_an_unhealthy_pilot_says_so_in_red_before_any_effect(without_charts):
    facts = pilot(crowd(), treatment_size=900, control_size=200)
    found = wave_of(facts)
    assert found.state == "bad"
    assert found.verdict == "Not to be judged: the pilot is not healthy."
    page = page_of(facts)
    assert page.index('class="banner bad"') < page.index("Does it work?")


def test_arms_that_lose_lines_differently_are_unhealthy(without_charts):
    members = crowd()
    for one in members:
        one["ended"] = one["arm"] == "control" and one["y"] > 0
    assert wave_of(pilot(members)).state == "bad"


def test_the_figures_are_those_of_the_kpis(healthy, without_charts):
    row = {one["arm"]: one for one in healthy.moments}
    arms = [
        Moments(
            one["member_count"], one["contact_sum"], one["contact_square_sum"], one["before_sum"],
            one["before_square_sum"], one["product_sum"],
        )
        for one in (row["treatment"], row["control"])
    ]  # fmt: skip
    expected = difference(*(arm.sample() for arm in arms))
    table = next(part for part in wave_of(healthy).sections[1].parts if part.kind == "table")
    assert table.rows[0][1] == f"{expected.value:+.3f}".replace("-", "\N{MINUS SIGN}")


# --- Where there is little to say ---------------------------------------------------------------------------------


def test_without_a_wave_the_page_says_when_one_is_drawn():
    assert "No wave has been drawn yet" in page_of(NOBODY)


def test_without_members_there_is_nothing_to_compare():
    found = wave_of(pilot([]))
    assert found.state == "bad"
    assert "nobody in treatment" in found.sections[0].parts[0].checks[0][2]
    assert "treatment and control have fewer" in answers(pilot([]))["Does it work?"]
    assert page_of(pilot([]))


def test_with_one_arm_the_page_says_which_is_lacking():
    facts = pilot([member(y=y) for y in range(5)], control_size=10)
    assert "control has fewer" in answers(facts)["Does it work?"]
    assert wave_of(facts).state == "bad"
    assert "cannot be said" in answers(facts)["What does it cost?"]
    assert page_of(facts)


def test_with_one_member_in_an_arm_there_is_no_variance_to_go_by():
    facts = pilot([member(y=1), member(y=2), member("control", y=3)])
    assert "control has fewer" in answers(facts)["Does it work?"]
    assert page_of(facts)


def test_where_nobody_calls_there_are_no_intervals():
    facts = pilot([member(arm) for arm in ("treatment", "control") for _ in range(5)])
    found = wave_of(facts)
    assert found.verdict == "Not to be judged: no member's contacts differ from another's."
    assert answers(facts)["Does it work?"] == "After 300 days both arms call alike."
    assert "nan" not in page_of(facts).lower()


def test_where_everybody_calls_there_is_a_curve_that_ends_at_none():
    facts = pilot([member(arm, y=y) for arm in ("treatment", "control") for y in (1, 2, 3)])
    page = page_of(facts)
    assert "Until the first contact" in page
    assert "nan" not in page.lower()


def test_while_the_window_is_empty_the_page_says_so():
    facts = pilot(crowd(), window_days=0)
    assert wave_of(facts).verdict == "Not to be judged: the window is empty."
    assert "No day of calls" in answers(facts)["Does it work?"]
    assert "no group" in answers(facts)["For whom does it work?"]
    assert page_of(facts)


def test_before_a_quarter_is_decided_there_is_no_shadow_ladder(without_charts):
    sections = {section.question: section for section in wave_of(pilot(crowd(), window_days=60)).sections}
    told = [part.sentence for part in sections["What does it cost?"].parts if part.kind == "text"]
    assert told == ["The shadow ladder has no decided quarter yet."]


def test_while_nobody_is_enrolled_nothing_is_owed():
    members = [{**one, "is_enrolled": False} for one in crowd()]
    assert answers(pilot(members))["What is owed?"] == "Nothing: nobody has enrolled yet."
    assert page_of(pilot(members))
