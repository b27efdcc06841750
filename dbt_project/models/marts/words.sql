-- One row per state that a subscriber, a quarter or a grant can be in: how it is told to people.
-- What stands in braces is a column of the row that is told.

select
    words.about,
    words.code,
    words.told
from (
    values
        ('draw', 'drawn', 'Drawn for wave {wave_id}, place {draw_rank} of {eligible_count}.'),
        (
            'draw', 'not_in_base',
            'Not drawn for wave {wave_id}: it was no subscriber yet on the eve of the invitation of {invite_on}.'
        ),
        (
            'draw', 'not_active',
            'Not drawn for wave {wave_id}: the line was not active on the eve of the invitation of {invite_on}.'
        ),
        (
            'draw', 'no_consent',
            'Not drawn for wave {wave_id}: no consent to be written to on the eve of the invitation of {invite_on}.'
        ),
        (
            'draw', 'no_email',
            'Not drawn for wave {wave_id}: no e-mail address on the eve of the invitation of {invite_on}.'
        ),
        ('draw', 'other_brand', 'Not drawn for wave {wave_id}: the wave is for other brands.'),
        ('draw', 'member_before', 'Not drawn for wave {wave_id}: already a member of an earlier wave.'),
        (
            'draw', 'ranked_beyond',
            'Not drawn for wave {wave_id}: the lot fell on others ({drawn_count} of {eligible_count} were drawn).'
        ),
        (
            'draw', 'known_later',
            'Not drawn for wave {wave_id}: what would have let it in was not known when the wave was drawn.'
        ),
        ('wave', 'due', 'Wave {wave_id}, inviting on {invite_on}, is drawn in the next run.'),
        ('wave', 'waiting', 'Wave {wave_id}, inviting on {invite_on}, waits for deliveries.'),
        ('wave', 'memberless', 'Wave {wave_id}, inviting on {invite_on}, found nobody who could be drawn.'),
        ('wave', 'overdue', 'Wave {wave_id}, inviting on {invite_on}, is overdue and is not drawn.'),
        ('wave', 'to_come', 'Wave {wave_id} draws for {invite_on}.'),
        ('enrolment', 'control', 'In the control group: it is not invited and cannot enrol.'),
        ('enrolment', 'enrolled', 'Enrolled on {enrolled_at}.'),
        ('enrolment', 'waiting', 'It has done all it takes to enrol; deliveries are missing to record it.'),
        ('enrolment', 'no_install', 'Not enrolled: the app has not been installed.'),
        ('enrolment', 'no_login', 'Not enrolled: no login to the portal since the app was installed.'),
        ('enrolment', 'no_video', 'Not enrolled: the video has not been watched since login and invitation.'),
        ('enrolment', 'not_active', 'Not enrolled: when the video was watched the line was not active.'),
        ('enrolment', 'too_late', 'Not enrolled: the video was watched too late, it had to be before {enrol_until}.'),
        ('enrolment', 'withdrawn', 'Not enrolled: it withdrew from the programme before.'),
        (
            'enrolment', 'lapsed',
            'By what is known today it would not have enrolled; an enrolment once recorded stands.'
        ),
        ('quarter', 'call_free', 'Call-free: {streak} in a row, worth {mb_per_month} MB a month.'),
        ('quarter', 'broken', 'Not call-free: nothing is earned, and the count starts anew.'),
        ('quarter', 'waiting', 'Over, and not decided: deliveries of calls are missing.'),
        ('quarter', 'call_free_so_far', 'Call-free so far: {streak} in a row if it stays so.'),
        ('quarter', 'broken_so_far', 'Not call-free: nothing is earned, unless the calls are taken back.'),
        (
            'grant', 'undecided',
            'Granted, and now in doubt: deliveries of calls are missing that were there before.'
        ),
        ('grant', 'nothing_earned', 'Nothing earned.'),
        ('grant', 'granted', 'All {entitled_mb} MB granted.'),
        (
            'grant', 'parked',
            '{missing_mb} MB are parked: billing rejected it {rejected_count} times, an operator must release it.'
        ),
        ('grant', 'withdrawn', 'Not granted: it withdrew from the programme before {nominal_from}.'),
        ('grant', 'to_come', '{missing_mb} MB to come on {nominal_from}, if the line is active then.'),
        ('grant', 'not_active', '{missing_mb} MB wait until the line is active again.'),
        ('grant', 'waiting', '{missing_mb} MB wait for missing deliveries.'),
        ('grant', 'due', '{missing_mb} MB go out with the next run.'),
        ('grant', 'overpaid', '{overpaid_mb} MB more than earned went out; nobody takes them back.'),
        ('coming', 'enrolment_ends', 'From this day on it is too late to enrol.'),
        ('coming', 'decision', 'Quarter {quarter} is decided, if calls have come up to the day before.'),
        (
            'coming', 'reward',
            'Quarter {quarter} pays {volume_mb} MB a month for three months, if it stays call-free and the line active.'
        ),
        ('coming', 'grant', '{volume_mb} MB for month {month} after quarter {quarter}.'),
        (
            'without', 'one',
            'Without the call of {calls}, quarter {quarter} would be worth {mb_per_month} MB a month.'
        ),
        (
            'without', 'many',
            'Without the {without_count} calls of {calls}, quarter {quarter} would be worth {mb_per_month} MB a month.'
        ),
        ('answer', 'unanswered', 'billing has not answered yet'),
        ('answer', 'accepted', 'accepted by billing'),
        ('answer', 'rejected', 'rejected by billing')
) as words(about, code, told)
