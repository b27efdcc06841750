"""What a run that broke off leaves, and how the next one goes on."""

from datetime import date, timedelta

import pytest

from flows import daily
from flows.errors import CallfreeError
from flows.steps import backups, kpis, restoring
from flows.steps import run as steps
from flows.steps.feeds import DAILY_FEEDS, FEEDS
from flows.steps.status import read_status
from flows.steps.warehouse import connect
from pipeline import PipelineHome

POLICY = {
    "terms": (
        "terms_id,welcome_mb,quarters,min_contact_seconds,settlement_days,enrolment_days,max_attempts\n"
        "t,600,1,10,2,90,1\n"
    ),
    "reward_tiers": "terms_id,streak,mb_per_month\nt,1,100\n",
    "waves": "wave_id,terms_id,invite_on,treatment_size,control_size,seed,brands\nw,t,2017-07-03,2,0,s,*\n",
    "hotline_lines": "line,valid_from,counts,label\nservice,2000-01-01,true,\n",
    "contact_outcomes": "outcome,valid_from,counts,label\nanswered,2000-01-01,true,\n",
}
FIRST = date(2017, 7, 1)


def header(feed: str) -> str:
    return ",".join(column.name for column in FEEDS[feed].columns) + "\n"


class Home(PipelineHome):
    """A home in which anna is invited on the 3rd of July and enrols that day."""

    def __init__(self, folder):
        policy = folder / "policy"
        policy.mkdir()
        for name, content in POLICY.items():
            (policy / f"{name}.csv").write_text(content)
        super().__init__(folder / "home", policy)
        self.day = FIRST

    def deliver_until(self, last: date, **rows: str):
        """Empty days up to a date; the named feeds have rows on the last."""
        while self.day <= last:
            for feed in DAILY_FEEDS:
                row = rows.get(feed, "") if self.day == last else ""
                self.deliver(f"{feed}_{self.day:%Y%m%d}.csv", (header(feed) + row).encode())
            self.day += timedelta(days=1)

    def enrol(self):
        self.deliver_until(
            FIRST, subscribers="anna,+491711234567,anna@example.org,o2,M,active,true,,2017-06-01T08:00:00+02:00\n"
        )
        self.deliver_until(date(2017, 7, 2))
        assert self.run(date(2017, 7, 2)) == 0
        events = ("app_installed,2017-07-03T09", "portal_login,2017-07-03T10", "video_completed,2017-07-03T11")
        self.deliver_until(
            date(2017, 7, 3),
            app_events="".join(f"e{n},anna,{event}:00:00+02:00,,\n" for n, event in enumerate(events)),
        )

    def answer(self, day: date, *answers: str):
        self.deliver(f"grant_acks_{day:%Y%m%d}.csv", (header("grant_acks") + "".join(answers)).encode())

    def posted(self) -> list[str]:
        return [row[0] for row in self._ask("select grant_id from ledger.grants order by grant_id")]


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path)
    home.enrol()
    return home


def failing(*_arguments):
    raise OSError(28, "No space left on device")


def test_what_was_posted_goes_out_even_when_the_next_run_fails_early(home, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(steps, "publish", failing_only_when_posted(steps.publish, home))
        with pytest.raises(CallfreeError, match="No space left"):
            home.run(date(2017, 7, 3))
    assert home.posted() == ["anna.W.1"]
    # A copy knows it before anybody else does.
    assert "grants_20170703_01.csv" in restoring._files_of(backups.copies(home.settings)[0])
    assert read_status(home.settings)["unpublished_files"] == ["grants_20170703_01.csv"]
    assert read_status(home.settings)["failed_run"]["business_date"] == "2017-07-03"
    assert "grants/grants_20170703_01.csv" not in home.outbox
    with monkeypatch.context() as patch:
        patch.setattr(steps, "land", failing)
        with pytest.raises(CallfreeError):
            home.run(date(2017, 7, 3))
    assert "grants/grants_20170703_01.csv" in home.outbox
    assert home.run(date(2017, 7, 3)) == 0
    assert home.posted() == ["anna.W.1"]
    assert read_status(home.settings)["failed_run"] is None


def failing_only_when_posted(publish, home):
    def step(settings):
        if "anna.W.1" in home.posted():
            failing()
        return publish(settings)

    step.__name__ = "publish"
    return step


def test_a_run_that_is_killed_after_posting_posts_nothing_again(home, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(steps, "publish_marts", killed)
        with pytest.raises(Killed):
            home.run(date(2017, 7, 3))
    outbox = dict(home.outbox)
    assert home.run(date(2017, 7, 3)) == 0
    assert home.outbox == outbox
    assert home.posted() == ["anna.W.1"]


def test_the_kpi_file_of_a_run_that_is_killed_before_it_is_made_by_the_next(home, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(steps, "publish_kpis", killed)
        with pytest.raises(Killed):
            home.run(date(2017, 7, 3))
    assert "kpis/kpis_20170703.csv" not in home.outbox
    home.deliver_until(date(2017, 7, 4))
    with monkeypatch.context() as patch:
        patch.setattr(steps, "land", failing)
        with pytest.raises(CallfreeError):
            home.run(date(2017, 7, 4))
    lines = home.outbox["kpis/kpis_20170703.csv"].decode().splitlines()
    assert {"w,granted_mb,treatment,,600,,,1", "w,contacts_per_member,treatment,,0,,,2"} & set(lines) == {
        "w,granted_mb,treatment,,600,,,1"
    }
    # What others took away is not put back; a repeat of the date, though, writes it anew.
    (home.settings.kpis_outbox / "kpis_20170703.csv").unlink()
    kpis.publish_left_over_kpis(home.settings)
    assert "kpis/kpis_20170703.csv" not in home.outbox
    with monkeypatch.context() as patch:
        # One that cannot be made up for holds back no run.
        patch.setattr(steps, "publish_left_over_kpis", failing)
        assert home.run(date(2017, 7, 3)) == 0
    assert home.outbox["kpis/kpis_20170703.csv"].decode().splitlines() == lines


def test_a_rebuild_shows_no_grant_that_nobody_posted(home):
    home.run(date(2017, 7, 3))
    home.answer(date(2017, 7, 4), "anna.W.1,rejected,BARRED,2017-07-04T07:00:00Z\n")
    home.deliver_until(date(2017, 7, 4))
    assert home.run(date(2017, 7, 4)) == 3
    assert home.release("anna.W.1", reason="unbarred") == 0
    home.rebuild()
    assert [row[0] for row in home._ask("select grant_id from marts.grants")] == ["anna.W.1"]
    assert home._ask("select entitlement_state, issued_mb from marts.entitlements where quarter = 0") == [("due", 0)]
    home.deliver_until(date(2017, 7, 5))
    home.run(date(2017, 7, 5))
    assert home.posted() == ["anna.W.1", "anna.W.2"]


def test_a_rebuild_deletes_nothing_that_the_archive_cannot_bring_back(home):
    home.run(date(2017, 7, 3))
    before = home.settings.warehouse.read_bytes()
    next(home.settings.archive.glob("subscribers/*")).unlink()
    with pytest.raises(CallfreeError, match="missing or was changed: put the delivery back as it came"):
        home.rebuild()
    assert home.settings.warehouse.read_bytes() == before


def test_a_rebuild_leaves_told_that_the_latest_run_failed(home, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(steps, "land", failing)
        with pytest.raises(CallfreeError):
            home.run(date(2017, 7, 3))
    home.rebuild()
    assert read_status(home.settings)["failed_run"]["business_date"] == "2017-07-03"


def test_a_run_that_is_refused_for_want_of_its_ledger_is_told_as_failed(home):
    home.run(date(2017, 7, 3))
    home.settings.ledger.unlink()
    with pytest.raises(CallfreeError, match=r"ledger\.duckdb is missing"):
        home.run(date(2017, 7, 4))
    assert not home.settings.ledger.exists()
    status = read_status(home.settings)
    assert (status["last_run"], status["failed_run"]["business_date"]) == ("2017-07-03", "2017-07-04")
    assert "callfree_run_failed 1.0" in home.settings.metrics.read_text()


@pytest.mark.parametrize("step", ["write_billing_page", "write_metrics"])
@pytest.mark.parametrize("is_rebuilt", [False, True])
def test_what_is_new_is_told_by_the_next_run_when_one_breaks_off(home, monkeypatch, step, is_rebuilt):
    home.answer(date(2017, 7, 3), "nobody.W.1,rejected,BARRED,2017-07-03T07:00:00Z\n")
    with monkeypatch.context() as patch:
        patch.setattr(steps, step, failing)
        with pytest.raises(CallfreeError):
            home.run(date(2017, 7, 3))
    if is_rebuilt:
        home.rebuild()
    outcome = steps.run_day(home.settings, date(2017, 7, 3))
    assert [row["subject"] for row in outcome.new_exceptions if row["kind"] == "unknown_ack"] == ["nobody.W.1"]
    assert steps.run_day(home.settings, date(2017, 7, 3)).new_exceptions == ()


def test_a_rebuild_with_a_broken_policy_does_nothing(home):
    home.run(date(2017, 7, 3))
    (home.settings.policy / "terms.csv").write_text("terms_id\n")
    with pytest.raises(CallfreeError, match=r"terms\.csv"):
        home.rebuild()
    assert home.settings.warehouse.is_file()


def test_a_rejected_delivery_is_told_though_the_landing_was_tried_twice(home, monkeypatch):
    home.deliver("calls_20170704.csv", b"damaged")
    calls = []
    land = steps.land

    def breaks_off_once(*arguments):
        calls.append(arguments)
        land(*arguments)
        if len(calls) == 1:
            failing()

    breaks_off_once.__name__ = "land"
    monkeypatch.setattr(steps, "land", breaks_off_once)

    def twice(step, *arguments):
        try:
            return steps.plainly(step, *arguments)
        except CallfreeError:
            return steps.plainly(step, *arguments)

    outcome = steps.run_day(home.settings, date(2017, 7, 4), call=twice)
    assert [name for name, _ in outcome.landing.rejected] == ["calls_20170704.csv"]
    assert outcome.exit_status == 3


def test_a_rejected_delivery_is_told_though_prefect_broke_the_first_try_off(home, monkeypatch):
    """The run is tried again without Prefect, and finds nothing new in the inbox."""
    home.deliver("calls_20170704.csv", b"damaged")

    def breaks_off(settings, day, last_known, **_):
        last_known(settings)
        steps.land(settings, day)
        raise ConnectionError("no server")

    monkeypatch.setattr(daily, "_do", breaks_off)
    monkeypatch.setattr(daily, "flow", lambda job, **_: job)
    outcome = daily.run(home.settings, date(2017, 7, 4))
    assert [name for name, _ in outcome.landing.rejected] == ["calls_20170704.csv"]
    assert outcome.exit_status == 3


def test_where_prefect_fails_around_a_step_its_result_stands(monkeypatch):
    def done_and_lost(function, **_options):
        def call():
            function()
            raise ConnectionError("no server")

        return call

    monkeypatch.setattr(daily, "task", done_and_lost)
    counted = []

    def step():
        counted.append(1)
        return "done"

    assert daily._as_task(step) == "done"
    assert len(counted) == 1


def test_where_prefect_fails_before_a_step_it_is_called_plainly(monkeypatch):
    def lost(_function, **_options):
        def call():
            raise ConnectionError("no server")

        return call

    monkeypatch.setattr(daily, "task", lost)
    assert daily._as_task(lambda: "done") == "done"


def test_what_is_missing_is_named_though_nothing_else_waits_for_it(home):
    home.run(date(2017, 7, 3))
    home.deliver("subscribers_20170704.csv", header("subscribers").encode())
    home.deliver("app_events_20170704.csv", header("app_events").encode())
    assert home.run(date(2017, 7, 4)) == 0
    waiting = [(row["what"], row["feed"], row["missing_days"]) for row in read_status(home.settings)["waiting"]]
    assert waiting == [("deliveries", "calls", "2017-07-04")]


def test_the_marts_can_be_held_open_by_an_analyst(home):
    home.run(date(2017, 7, 3))
    with connect(home.settings.marts) as analyst:
        home.deliver_until(date(2017, 7, 4))
        assert home.run(date(2017, 7, 4)) == 0
        assert analyst.execute("select business_date from run").fetchone() == (date(2017, 7, 3),)
    with connect(home.settings.marts) as analyst:
        assert analyst.execute("select business_date from run").fetchone() == (date(2017, 7, 4),)
