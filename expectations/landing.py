"""What a landing must be: one row per delivery, and no row of it lost or doubled on the way in."""

from functools import lru_cache

from expectations.app_events import APP_EVENTS
from expectations.calls import CALLS
from expectations.grant_acks import GRANT_ACKS
from expectations.mail_events import MAIL_EVENTS
from expectations.subscribers import SUBSCRIBERS
from expectations.suite import Suite, one_of

BY_FEED = {suite.name: suite for suite in (SUBSCRIBERS, APP_EVENTS, CALLS, MAIL_EVENTS, GRANT_ACKS)}


@lru_cache
def landing(feeds: tuple[str, ...]) -> Suite:
    """The deliveries of a landing, weighed against the rows in the tables of these feeds."""
    loaded = "".join(
        f"""select delivery_id, '{feed}' as feed, record_no, false as is_rejected, true as has_reason
                from raw.{feed}
                union all
                """
        for feed in feeds
    )
    return Suite(
        "landing",
        f"""select
            landing.*,
            count(*) over (partition by landing.delivery_id) as lines_of_the_delivery,
            coalesce(counted.loaded_rows, 0) as loaded_rows,
            coalesce(counted.rejected_rows, 0) as rejected_rows,
            coalesce(counted.rows_with_reason, 0) as rows_with_reason,
            coalesce(counted.numbers, 0) as numbers,
            coalesce(counted.lowest_number, 1) as lowest_number
        from raw.landing as landing
        left join (
            select
                bundles.delivery_id,
                bundles.feed,
                sum(bundles.loaded_rows) as loaded_rows,
                sum(bundles.rejected_rows) as rejected_rows,
                sum(bundles.rows_with_reason) as rows_with_reason,
                sum(bit_count(bundles.numbers)) as numbers,
                min(bundles.lowest_number) as lowest_number
            from (
                -- Record numbers as bits, 32 to a bundle: to tell that none comes twice, none need be remembered.
                select
                    landed.delivery_id,
                    landed.feed,
                    count(*) filter (where not landed.is_rejected) as loaded_rows,
                    count(*) filter (where landed.is_rejected) as rejected_rows,
                    count(*) filter (where landed.has_reason) as rows_with_reason,
                    bit_or(cast(1 as bigint) << (landed.record_no & 31)) as numbers,
                    min(landed.record_no) as lowest_number
                from (
                    {loaded}
                    select delivery_id, feed, record_no, true as is_rejected, coalesce(reason, '') <> '' as has_reason
                    from raw.rejected_rows
                ) as landed
                inner join (select distinct delivery_id from raw.landing) as deliveries
                    on landed.delivery_id = deliveries.delivery_id
                group by landed.delivery_id, landed.feed, landed.record_no >> 5
            ) as bundles
            group by bundles.delivery_id, bundles.feed
        ) as counted on landing.delivery_id = counted.delivery_id and landing.feed = counted.feed""",
        {
            "every delivery is of a feed that was checked": one_of("feed", feeds) if feeds else "false",
            "every delivery stands there once": "lines_of_the_delivery = 1 and delivery_id is not null",
            "every delivery has its business date": "business_date is not null",
            "the records read are those loaded and those rejected": "record_count = loaded_count + rejected_count",
            "the table holds the rows that were loaded": "loaded_rows = loaded_count",
            "the rejected rows were kept": "rejected_rows = rejected_count",
            "every rejected row has its reason": "rows_with_reason = loaded_rows + rejected_rows",
            "no record number comes twice in a delivery": "numbers = loaded_rows + rejected_rows",
            "record numbers start at 1": "lowest_number >= 1",
        },
        is_computed=True,
    )


def suites(feeds: tuple[str, ...]) -> tuple[Suite, ...]:
    """All that is checked after a landing of these feeds."""
    return landing(feeds), *(BY_FEED[feed] for feed in feeds)
