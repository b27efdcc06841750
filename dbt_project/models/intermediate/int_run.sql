-- One row: the run, whether it posts (a rebuild does not), and whether it is current: subscribers and app events
-- are complete from their start.

select
    {{ business_date() }} as business_date,
    (select run.is_posting from {{ source('run', 'run') }} as run) as is_posting,
    count(*) filter (where feeds.is_complete and feeds.feed in ('subscribers', 'app_events')) = 2 as is_current
from {{ ref('int_feeds') }} as feeds
