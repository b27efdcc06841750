"""Each derivation done twice: as the day's run does it, and whole. Every table must hold the same rows."""

from flows.settings import Settings
from flows.steps import corrections, derivation, last_derivation, transform
from flows.steps.policy import Policy
from flows.steps.warehouse import connect

SCHEMAS = ("policy", "staging", "intermediate", "posting", "marts")


class DerivedTwice:
    """Its `derive` takes the place of that of the runs. Counts the days that were ordinary, and those before which what
    was known of entitlements was compared."""

    def __init__(self, monkeypatch) -> None:
        self.ordinary = 0
        self.known = 0
        self._found: list[str | None] = []
        why_all = last_derivation.why_all

        def asked(*arguments) -> str | None:
            self._found.append(why_all(*arguments))
            return self._found[-1]

        monkeypatch.setattr(last_derivation, "why_all", asked)
        # No whole derivation comes between, so that what an ordinary day has missed stays missed.
        seldom = last_derivation._REASONS.replace("derived.whole_on + 7", "derived.whole_on + 1000")
        assert seldom != last_derivation._REASONS
        monkeypatch.setattr(last_derivation, "_REASONS", seldom)

    def derive(self, settings: Settings, policy: Policy) -> None:
        with connect(settings.warehouse) as connection:
            self.known += _are_known(connection)
        derivation.derive(settings, policy)
        if self._found[-1] is not None:
            return
        self.ordinary += 1
        with connect(settings.warehouse, ledger=settings.ledger) as connection:
            (follows,) = connection.execute("select follows from raw.derived").fetchone()
            assert follows, "an ordinary day failed, and everything was derived anew"
            tables = connection.execute(
                "select schema_name, table_name from duckdb_tables() where database_name = current_database()"
                " and list_contains(?, schema_name)",
                [list(SCHEMAS)],
            ).fetchall()
            # Taken back, so that the next day goes on from this one.
            connection.execute("begin")
            connection.execute("create schema of_the_day")
            for schema, table in tables:
                connection.execute(f'create table of_the_day."{schema}.{table}" as from {schema}."{table}"')
            derivation._derive_whole(connection, transform.compiled(settings), policy)
            differing = {
                f"{schema}.{table}": rows
                for schema, table in tables
                if (rows := _difference(connection, f'of_the_day."{schema}.{table}"', f'{schema}."{table}"'))
            }
            connection.execute("rollback")
        assert not differing, f"an ordinary day and all derived anew differ: {differing}"


def _are_known(connection) -> bool:
    """Whether the run before has come to its end. Then what it knows of entitlements is what it has derived of them."""
    made = "from raw.made inner join raw.derived on made.derivation = derived.derivation where made.thing = ?"
    is_there = "from duckdb_tables() where schema_name = 'raw' and table_name = 'made'"
    if not (connection.execute(is_there).fetchall() and connection.execute(made, [corrections._THING]).fetchall()):
        return False
    granted = "from marts.entitlements where is_decided and entry_count > 0"
    derived = f"(select subscriber_id, quarter, month, entitled_mb {granted})"
    assert not _difference(connection, "raw.known_entitlements", derived)
    return True


def _difference(connection, one: str, other: str) -> list[tuple]:
    return connection.execute(
        f"(select 'of the day', * from (from {one} except all from {other}))"
        f" union all (select 'whole', * from (from {other} except all from {one})) limit 6"
    ).fetchall()
