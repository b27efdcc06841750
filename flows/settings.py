"""What differs from one installation to the next: paths, limits and prices, from `CALLFREE_*` in the environment."""

import grp
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT = Path(__file__).resolve().parent.parent
DEFAULT_POLICY = PROJECT / "dbt_project" / "seeds"


class Settings(BaseSettings):
    """One home folder is one installation; every path below it is fixed by the interface (2.1)."""

    model_config = SettingsConfigDict(env_prefix="CALLFREE_", env_ignore_empty=True, frozen=True)

    home: Path = PROJECT / "data"
    policy: Path = DEFAULT_POLICY
    max_delivery_bytes: int = Field(default=8 * 1024**3, gt=0)
    max_rejected_share: float = Field(default=0.05, ge=0, le=1)
    # The budget of a run. Without a number: all that the policy can ever owe to all members drawn.
    max_grants_per_run: int | None = Field(default=None, ge=0)
    max_mb_per_run: int | None = Field(default=None, ge=0)
    # Where copies of the ledger are kept, best on another disk; without it in the home folder.
    backups: Path | None = None
    keep_backups: int = Field(default=14, ge=1)
    eur_per_mb: float = Field(default=0.001, ge=0, allow_inf_nan=False)
    eur_per_contact: float = Field(default=5, ge=0, allow_inf_nan=False)
    # Where a browser finds `reports/`, for the links on a run's page; `callfree up` serves them itself.
    pages_url: str | None = None
    alert_webhook: SecretStr | None = None
    # An address as Apprise writes it: mailto:// or mailtos://, with who sends, who reads and by which server.
    alert_email: SecretStr | None = None
    # For the report, which looks at several; sources in docs/report.md.
    report_eur_per_gb: tuple[float, ...] = Field(default=(0.20, 1.00, 5.20), min_length=1)
    report_eur_per_contact: tuple[float, ...] = Field(default=(5.00, 2.50), min_length=1)
    report_calls_per_line_year: float = Field(default=2.5, gt=0, allow_inf_nan=False)
    report_lines: tuple[int, ...] = (1_000_000, 10_000_000, 43_000_000)

    # What the databases of a run may hold in memory; what is more goes to disk, into the home.
    memory: str = Field(default="3GB", pattern=r"^[1-9][0-9]{0,5}(MB|GB)$")

    # Who may put into the inbox, take from the outbox and read what is published, besides the owner.
    group: str | None = None

    @field_validator("group")
    @classmethod
    def _group_exists(cls, group: str | None) -> str | None:
        try:
            return group and grp.getgrnam(group).gr_name
        except KeyError:
            raise ValueError("no group of this name is known here") from None

    def _below_home(self, *parts: str) -> Path:
        return self.home.absolute().joinpath(*parts)

    @property
    def inbox(self) -> Path:
        return self._below_home("inbox")

    @property
    def claimed(self) -> Path:
        """Files of the inbox that a landing is judging; there only while it does."""
        return self.inbox / ".claimed"

    @property
    def archive(self) -> Path:
        return self._below_home("archive")

    @property
    def rejected(self) -> Path:
        return self._below_home("rejected")

    @property
    def held(self) -> Path:
        return self._below_home("held")

    @property
    def grants_outbox(self) -> Path:
        return self._below_home("outbox", "grants")

    @property
    def invitations_outbox(self) -> Path:
        return self._below_home("outbox", "invitations")

    @property
    def kpis_outbox(self) -> Path:
        return self._below_home("outbox", "kpis")

    @property
    def reports(self) -> Path:
        return self._below_home("reports")

    @property
    def published(self) -> Path:
        return self._below_home("published")

    @property
    def warehouse(self) -> Path:
        return self._below_home("warehouse.duckdb")

    @property
    def ledger(self) -> Path:
        return self._below_home("ledger.duckdb")

    @property
    def marts(self) -> Path:
        return self._below_home("published", "marts.duckdb")

    @property
    def status(self) -> Path:
        return self._below_home("published", "status.json")

    @property
    def metrics(self) -> Path:
        return self._below_home("published", "metrics.prom")

    @property
    def backups_folder(self) -> Path:
        """Copies of the ledger."""
        return (self.backups or self._below_home("backups")).absolute()

    @property
    def ledger_note(self) -> Path:
        """How far the ledger has come: it outlives the ledger."""
        return self._below_home("published", "ledger_note.json")

    @property
    def restoring(self) -> Path:
        """There while a restore goes on."""
        return self._below_home(".restoring")

    @property
    def lock(self) -> Path:
        return self._below_home(".lock")

    @property
    def work(self) -> Path:
        """What can be made again: the models as compiled, Prefect's own files, marts as of earlier days."""
        return self._below_home(".work")

    @property
    def readable_ledger(self) -> Path:
        """A copy of the ledger, for those who read while a run holds it."""
        return self.work / "ledger.duckdb"

    @property
    def up_url(self) -> Path:
        """Where the server of `callfree up` answers, while it goes on."""
        return self.work / "up.url"

    @property
    def server_log(self) -> Path:
        return self.work / "server.log"

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of the home, each after the one it lies in."""
        return (
            self.home.absolute(),
            self.grants_outbox.parent,
            self.inbox,
            self.archive,
            self.rejected,
            self.held,
            self.grants_outbox,
            self.invitations_outbox,
            self.kpis_outbox,
            self.reports,
            self.published,
            self.work,
        )

    def url_of(self, page: Path) -> str | None:
        """Where a browser finds a page of `reports/`, None where it is not there or not served."""
        if self.pages_url is None or not page.is_file():
            return None
        return f"{self.pages_url.rstrip('/')}/{page.relative_to(self.reports).as_posix()}"

    def make_folders(self) -> None:
        """Create the home folder as the interface describes it, for its owner only."""
        for folder in self.folders:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
