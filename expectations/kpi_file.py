"""What the figures must be before they go out: each by itself, against the others, and against the ledger."""

from expectations.suite import Suite, one_of

BY_ARM = ("members", "contacts_per_member", "call_free_share")
OF_TREATMENT = (
    "invited", "app_installed", "signed_in", "video_watched", "enrolled", "enrolment_rate", "days_to_enrol_median",
    "call_free_quarters_share", "granted_mb", "committed_mb", "grant_cost_eur", "saved_contacts", "saved_eur",
    "net_eur",
)  # fmt: skip
OF_BOTH_ARMS = (
    "itt_contacts", "itt_contacts_p", "itt_contacts_cuped", "itt_contacts_relative", "tot_contacts", "attrition_p",
    "unattributed_share",
)  # fmt: skip
_COUNTS = ("members", "invited", "app_installed", "signed_in", "video_watched", "enrolled")
_PROBABILITIES = (
    "enrolment_rate", "call_free_share", "call_free_quarters_share", "unattributed_share", "itt_contacts_p",
    "attrition_p",
)  # fmt: skip

# One row per figure, with those of its wave that it must agree with, and what the ledger says.
_FIGURES = """select
    kpis.*,
    count(*) over (partition by kpis.wave_id, kpis.kpi, kpis.arm, kpis.quarter) as figures_of_the_name,
    moments.member_count,
    moments.contact_sum,
    posted.granted_mb as ledger_mb,
    effect.value as effect,
    effect.ci_low as effect_low,
    effect.ci_high as effect_high,
    saved.value as saved_eur,
    cost.value as cost_eur
from marts.kpis as kpis
left join marts.kpi_moments as moments on kpis.wave_id = moments.wave_id and kpis.arm = moments.arm
left join marts.kpis as effect on kpis.wave_id = effect.wave_id and effect.kpi = 'itt_contacts'
left join marts.kpis as saved on kpis.wave_id = saved.wave_id and saved.kpi = 'saved_eur'
left join marts.kpis as cost on kpis.wave_id = cost.wave_id and cost.kpi = 'grant_cost_eur'
left join (
    select grants.wave_id, sum(grants.volume_mb) as granted_mb
    from ledger.main.grants as grants
    inner join marts.grants as answers on grants.grant_id = answers.grant_id
    where answers.answer <> 'rejected'
    group by grants.wave_id
) as posted on kpis.wave_id = posted.wave_id"""


def _only(kpi: str, condition: str) -> str:
    return f"kpi <> '{kpi}' or ({condition})"


def _nearly(a: str, b: str) -> str:
    return f"abs({a} - ({b})) <= 1e-9 * greatest(1, abs({a}))"


FIGURES = Suite(
    "figures",
    _FIGURES,
    {
        "every figure is one that the specification names": one_of("kpi", BY_ARM + OF_TREATMENT + OF_BOTH_ARMS),
        "every figure is about the arm that the specification says": f"""
            case
                when {one_of("kpi", BY_ARM)} then arm in ('treatment', 'control')
                when {one_of("kpi", OF_TREATMENT)} then coalesce(arm = 'treatment', false)
                else arm is null
            end""",
        "call-free quarters have a quarter, and nothing else has": (
            "(kpi = 'call_free_quarters_share') = coalesce(quarter >= 1, false)"
        ),
        "no figure comes twice": "figures_of_the_name = 1",
        "every figure has a value, save a p where nothing varies": "value is not null or kpi = 'itt_contacts_p'",
        "every number is finite": (
            "isfinite(coalesce(value, 0)) and isfinite(coalesce(ci_low, 0)) and isfinite(coalesce(ci_high, 0))"
        ),
        "every interval holds its value": "ci_low is null or value between ci_low and ci_high",
        "every share and every p lies between 0 and 1": (
            f"not ({one_of('kpi', _PROBABILITIES)})"
            " or (coalesce(value, 0) between 0 and 1 and coalesce(ci_low, 0) >= 0 and coalesce(ci_high, 1) <= 1)"
        ),
        "no step of the way has more members than the arm": (
            f"not ({one_of('kpi', _COUNTS)}) or (value between 0 and n and n = member_count)"
        ),
        "the arms' means are their contacts by their members": (
            _only("contacts_per_member", _nearly("value * member_count", "contact_sum"))
        ),
        "granted_mb is what the ledger says": _only("granted_mb", "value = coalesce(ledger_mb, 0)"),
        "nothing granted is left out of what is committed": _only("committed_mb", "value >= coalesce(ledger_mb, 0)"),
        "contacts are saved where treatment calls less": _only(
            "saved_contacts",
            f"{_nearly('value', '-effect * n')} and (ci_low is null or"
            f" ({_nearly('ci_low', '-effect_high * n')} and {_nearly('ci_high', '-effect_low * n')}))",
        ),
        "what remains is what is saved less what it costs": _only("net_eur", _nearly("value", "saved_eur - cost_eur")),
    },
    is_computed=True,
)

# One row per wave of the ledger.
WAVES = Suite(
    "figures_of_waves",
    """select
        draws.wave_id,
        count(*) filter (where kpis.kpi = 'members') as arms,
        count(*) filter (where kpis.kpi = 'granted_mb') as totals
    from ledger.main.draws as draws
    left join marts.kpis as kpis on draws.wave_id = kpis.wave_id
    group by draws.wave_id""",
    {"every drawn wave has the figures of its two arms": "arms = 2 and totals = 1"},
    is_computed=True,
)

SUITES = (FIGURES, WAVES)
