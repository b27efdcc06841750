-- One row per grant file, answer of billing and reason: what was sent, accepted, rejected and why, and unanswered.

with files as (
    select
        batches.sequence,
        batches.file_name,
        batches.business_date as posted_in_run_on
    from {{ source('ledger', 'batches') }} as batches

    union all

    select
        batches.sequence,
        batches.file_name,
        batches.business_date as posted_in_run_on
    from {{ ref('batch_due') }} as batches
),

grants as (
    select
        grants.sequence,
        grants.answer,
        grants.volume_mb,
        grants.is_contradicting,
        grants.answered_on,
        case when grants.answer = 'rejected' then coalesce(grants.rejection_reason, '(none)') else '-' end as reason
    from {{ ref('grants') }} as grants
),

answers as (
    select
        grants.sequence,
        grants.answer,
        grants.reason,
        count(*) as grant_count,
        sum(grants.volume_mb) as volume_mb,
        count(*) filter (where grants.is_contradicting) as contradicting_count,
        min(grants.answered_on) as first_answered_on,
        max(grants.answered_on) as last_answered_on
    from grants
    group by grants.sequence, grants.answer, grants.reason
),

judged as (
    select
        files.sequence,
        files.file_name,
        files.posted_in_run_on,
        coalesce(answers.answer, 'nothing_sent') as answer,
        coalesce(answers.reason, '-') as reason,
        case when answers.answer = 'unanswered' then {{ business_date() }} - files.posted_in_run_on end as age_days,
        coalesce(answers.grant_count, 0) as grant_count,
        coalesce(answers.volume_mb, 0) as volume_mb,
        coalesce(answers.contradicting_count, 0) as contradicting_count,
        answers.first_answered_on,
        answers.last_answered_on
    from files
    left join answers on files.sequence = answers.sequence
)

select
    judged.sequence,
    judged.file_name,
    judged.posted_in_run_on,
    cast(date_trunc('month', judged.posted_in_run_on) as date) as posted_month,
    judged.answer,
    judged.reason,
    cast(judged.age_days as integer) as age_days,
    case
        when judged.age_days is null then '-'
        when judged.age_days <= 1 then '0 to 1 day'
        when judged.age_days <= 7 then '2 to 7 days'
        when judged.age_days <= 30 then '8 to 30 days'
        else 'over 30 days'
    end as age_bucket,
    cast(judged.grant_count as bigint) as grant_count,
    cast(judged.volume_mb as bigint) as volume_mb,
    cast(judged.contradicting_count as bigint) as contradicting_count,
    judged.first_answered_on,
    judged.last_answered_on
from judged
