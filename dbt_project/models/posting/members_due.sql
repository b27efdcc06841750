-- One row per member that this run draws, with the e-mail address of those whom the invitation file names.

select
    draw.wave_id,
    draw.subscriber_id,
    draw.arm,
    cast(draw.draw_rank as bigint) as draw_rank,
    case
        when
            draw.arm = 'treatment'
            and subscribers.status = 'active'
            and subscribers.has_marketing_consent
            and not {{ is_formula('subscribers.email') }}
            then subscribers.email
    end as invitation_email
from {{ ref('int_draw') }} as draw
inner join {{ ref('int_run') }} as run on run.is_posting
left join {{ ref('int_subscribers') }} as subscribers on draw.subscriber_id = subscribers.subscriber_id
