-- One row per drawn wave: the days over which its arms are compared, and the calls of nobody in them.

with draws as (
    select
        draws.wave_id,
        draws.terms_id,
        draws.invite_on,
        draws.drawn_in_run_on
    from {{ source('ledger', 'draws') }} as draws

    union all

    select
        draws.wave_id,
        draws.terms_id,
        draws.invite_on,
        draws.drawn_in_run_on
    from {{ ref('draws_due') }} as draws
),

calls_days as (
    select * from {{ ref('int_feed_days') }} where feed = 'calls'
),

waves as (
    select
        draws.wave_id,
        draws.terms_id,
        draws.invite_on,
        draws.drawn_in_run_on,
        {{ add_days('draws.invite_on', -90) }} as before_from,
        {{ add_days(add_months('draws.invite_on', '3 * terms.quarters + 3'), 'terms.enrolment_days') }}
            as window_closes_on,
        -- Where calls are not complete on the day of the invitation the window is empty.
        coalesce(calls_days.complete_until, draws.invite_on) as complete_until
    from draws
    inner join {{ ref('terms') }} as terms on draws.terms_id = terms.terms_id
    left join calls_days on draws.invite_on = calls_days.day
),

windows as (
    select
        waves.*,
        least(waves.complete_until, waves.window_closes_on) as window_until
    from waves
),

-- Any outcome and length: whose call it is has nothing to do with how it went.
counting_calls as (
    select
        calls.started_on,
        count(*) as call_count,
        count(*) filter (where calls.subscriber_id is null) as unattributed_count
    from {{ ref('int_calls') }} as calls
    where
        not calls.is_voided
        and calls.direction = 'inbound'
        and calls.counts_line
    group by calls.started_on
),

counted as (
    select
        windows.wave_id,
        sum(calls.call_count) as call_count,
        sum(calls.unattributed_count) as unattributed_count
    from windows
    inner join counting_calls as calls
        on calls.started_on >= windows.invite_on and calls.started_on < windows.window_until
    group by windows.wave_id
)

select
    windows.wave_id,
    cast(row_number() over (order by windows.drawn_in_run_on, windows.invite_on, windows.wave_id) as integer)
        as wave_no,
    windows.terms_id,
    windows.drawn_in_run_on,
    windows.invite_on,
    windows.before_from,
    windows.window_until,
    windows.window_closes_on,
    cast(windows.window_until - windows.invite_on as integer) as window_days,
    cast(coalesce(counted.call_count, 0) as bigint) as counting_call_count,
    cast(coalesce(counted.unattributed_count, 0) as bigint) as unattributed_call_count
from windows
left join counted on windows.wave_id = counted.wave_id
