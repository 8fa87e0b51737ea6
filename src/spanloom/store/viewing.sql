-- What pages ask beyond single runs and lists. Every query names its project; every value is a parameter.

-- Tokens and cost are counted where they were reported lowest: a run whose children report some adds nothing, and of
-- those that name one response of the provider's, only the first by id does.
-- name: trace_sums
select root_id, count(*) as runs, sum(status = 'error') as errors,
       sum(case when prompt_tokens is null and completion_tokens is null and total_tokens is null or reported
                or place > 1 then 0
           else coalesce(total_tokens, ifnull(prompt_tokens, 0) + ifnull(completion_tokens, 0)) end) as tokens,
       sum(case when reported or place > 1 then null else cost end) as cost
from (
    select *, row_number() over (
        partition by root_id, reported, coalesce(response_id, run_id) order by run_id) as place
    from (
        select r.*, exists (select 1 from runs c where c.project = r.project and c.parent_id = r.run_id
                            and (c.prompt_tokens is not null or c.total_tokens is not null)) as reported
        from runs r where r.project = :project and r.root_id in (select value from json_each(:roots))
    )
) group by root_id;

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
