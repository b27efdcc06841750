"""What a batch must be before it is posted: each grant, and the batch against what is owed."""

from expectations.suite import MSISDN, NAME, Suite, matches

# One row per grant about to be posted, with the terms, the entitlement and the ledger it must agree with. Of the
# ledger only those rows are looked at that the batch could repeat: all of them would fill the memory.
_GRANTS = """select
    due.*,
    terms.quarters as quarters_of_terms,
    case when due.kind = 'welcome' then terms.welcome_mb else tiers.highest_mb end as most_mb,
    owed.entitlement_state,
    owed.is_parked,
    owed.entitled_mb as owed_entitled_mb,
    owed.issued_mb as owed_issued_mb,
    coalesce(posted.last_entry_no, 0) as last_entry_no,
    due.grant_id in (
        select grant_id from ledger.main.grants where grant_id in (select grant_id from posting.grants_due)
    ) as is_posted,
    due.grant_id in (
        select grant_id from posting.grants_due group by grant_id having count(*) > 1
    ) as is_twice,
    (due.subscriber_id, due.quarter, due.month) in (
        select (subscriber_id, quarter, month) from posting.grants_due
        group by subscriber_id, quarter, month having count(*) > 1
    ) as is_twice_a_month,
    (select max(business_date) from posting.grants_due) as last_business_date
from posting.grants_due as due
left join policy.terms as terms on due.terms_id = terms.terms_id
left join (
    select terms_id, max(mb_per_month) as highest_mb from policy.reward_tiers group by terms_id
) as tiers on due.terms_id = tiers.terms_id
left join intermediate.int_entitlements as owed
    on due.subscriber_id = owed.subscriber_id and due.quarter = owed.quarter and due.month = owed.month
left join (
    select subscriber_id, quarter, month, max(entry_no) as last_entry_no
    from ledger.main.grants
    where subscriber_id in (select subscriber_id from posting.grants_due)
    group by subscriber_id, quarter, month
) as posted
    on due.subscriber_id = posted.subscriber_id and due.quarter = posted.quarter and due.month = posted.month"""

GRANTS = Suite(
    "grants",
    _GRANTS,
    {
        "every subscriber_id, wave_id and terms_id is well formed": (
            f"{matches('subscriber_id', NAME)} and {matches('wave_id', NAME)} and terms_id <> ''"
        ),
        "every msisdn is well formed": matches("msisdn", MSISDN),
        "every grant_id is composed of subscriber, month and entry": """
            length(grant_id) <= 64
            and grant_id = subscriber_id
                || case when quarter = 0 then '.W.' else '.Q' || quarter || 'M' || month || '.' end
                || entry_no""",
        "no grant_id comes twice": "not is_twice",
        "no grant_id is in the ledger already": "not is_posted",
        "every entry follows the last one in the ledger": "entry_no = last_entry_no + 1",
        "a subscriber has one grant for a quarter and month": "not is_twice_a_month",
        "a welcome is quarter 0, a loyalty grant one of three months": """
            (kind = 'welcome' and quarter = 0 and month = 0)
            or (kind = 'loyalty' and quarter >= 1 and month in (1, 2, 3))""",
        "no quarter is beyond the terms": "quarter <= quarters_of_terms",
        "every volume is one that the terms can give": "volume_mb > 0 and volume_mb <= most_mb",
        "every volume is what was entitled less what was issued": "volume_mb = entitled_mb - issued_mb",
        "every grant answers an entitlement that is due": """
            entitlement_state = 'due' and not is_parked
            and entitled_mb = owed_entitled_mb and issued_mb = owed_issued_mb""",
        "every grant starts at its nominal start, or tomorrow when that is past": (
            "valid_from = greatest(nominal_from, business_date + 1)"
        ),
        "no grant is posted before its time": "nominal_from <= business_date + 1",
        "every grant lasts as long as its nominal period": (
            "nominal_until > nominal_from and valid_until - valid_from = nominal_until - nominal_from"
        ),
        "the batch has one business date": "business_date = last_business_date",
    },
    is_sifted=True,
)

# One row: the batch and what is owed, each summed by itself.
TOTALS = Suite(
    "batch_totals",
    """select
        (select count(*) from posting.grants_due) as grants,
        (select coalesce(sum(volume_mb), 0) from posting.grants_due) as grants_mb,
        count(*) as owed,
        coalesce(sum(missing_mb), 0) as owed_mb
    from intermediate.int_entitlements
    where entitlement_state = 'due' and missing_mb > 0 and not is_parked""",
    {
        "there are as many grants as entitlements due and missing": "grants = owed",
        "the grants sum to what is due and missing": "grants_mb = owed_mb",
    },
    is_computed=True,
)

SUITES = (GRANTS, TOTALS)
