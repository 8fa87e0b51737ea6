-- What pages ask beyond single runs and lists. Every query names its project; every value is a parameter.

-- A trace is what names its root, the root itself, and everything below these: a run of another root hangs below a
-- host's span here. The sums follow `sums.py`: what is reported lowest counts, and one response counts once.
-- name: trace_sums
with recursive
members (top, run_id, seq) as (
    select asked.value, r.run_id, r.seq from json_each(:roots) asked
    cross join runs r on r.project = :project and r.root_id = asked.value
    union
    select asked.value, r.run_id, r.seq from json_each(:roots) asked
    cross join runs r on r.project = :project and r.run_id = asked.value and r.type is not 'thread'
    union
    select members.top, c.run_id, c.seq from members join runs c on c.project = :project and c.parent_id = members.run_id
),
held as (
    select members.top, r.run_id, r.parent_id, r.response_id, r.cost, r.status is 'error' as failed,
           coalesce(r.total_tokens, r.prompt_tokens + ifnull(r.completion_tokens, 0), r.completion_tokens) as tokens
    from members join runs r on r.seq = members.seq
),
above (top, run_id, what) as (
    select top, parent_id, 'tokens' from held where tokens is not null and parent_id is not run_id
    union
    select top, parent_id, 'cost' from held where cost is not null and parent_id is not run_id
    union
    select above.top, r.parent_id, above.what from above join runs r on r.project = :project and r.run_id = above.run_id
),
placed as (
    select held.*, tokens is not null and t.what is null as tokens_count, cost is not null and c.what is null as cost_counts
    from held
    left join above t on t.top = held.top and t.run_id = held.run_id and t.what = 'tokens'
    left join above c on c.top = held.top and c.run_id = held.run_id and c.what = 'cost'
)
select top as root_id, count(*) as runs, sum(failed) as errors,
       sum(case when tokens_count and tokens_place = 1 then tokens end) as tokens,
       sum(case when cost_counts and cost_place = 1 then cost end) as cost
from (
    select *, row_number() over (partition by top, tokens_count, coalesce(response_id, run_id) order by run_id) as tokens_place,
           row_number() over (partition by top, cost_counts, coalesce(response_id, run_id) order by run_id) as cost_place
    from placed
) group by top;

-- Which of these runs have arrived.
-- name: there
select r.run_id from json_each(:ids) asked cross join runs r on r.project = :project and r.run_id = asked.value;

-- Threads by their newest run. The index of threads answers alone.
-- name: threads
select thread_id, max(seq) as newest, count(*) as runs from runs
where project = :project and thread_id is not null
group by thread_id having newest < :before order by newest desc limit :most;

-- In the order of arrival, without sorting all there is: hence the plus.
-- name: newest_feedback
select seq, event_id, run_id, user_key, time_us, received_us, overwrite, body from feedback
where +project = :project and seq < :before order by seq desc limit :most;

-- name: run_by_key
select * from runs where project = ? and user_key = ? order by seq limit 1;

-- What was heard of since then, oldest first, by the trace it belongs to. Asked twice a second while pages follow: the
-- plus keeps the index of projects out of it (43 ms of 200,000 runs), so that the one of touches answers (0.1 ms).
-- name: touched_since
select coalesce(root_id, run_id) as trace, touched_us from runs
where touched_us > :since_us and +project = :project order by touched_us limit :most;

-- name: last_touch
select max(touched_us) as touched_us from runs;

-- name: usage_series
select (time_us - :since_us) / :width_us as slot, kind, name, count(*) as count, sum(value) as value
from usage_events where project = :project and time_us >= :since_us and time_us < :until_us
group by slot, kind, name order by slot limit :most;
