-- What readers ask. Every query names its project; every value is a parameter.

-- name: project_id
select id from projects where name = ?;

-- name: projects
select name from projects order by name;

-- name: run
select * from runs where project = ? and run_id = ?;

-- name: ids_by_prefix
select run_id from runs where project = ? and run_id >= ? and run_id < ? order by run_id limit ?;

-- name: ids_by_suffix
select run_id from runs where project = ? and substr(run_id, ?) = ? limit ?;

-- A run and what is below it, level by level; "union" meets a run once, so that a loop ends.
-- name: below
with recursive below (run_id) as (
    select :top
    union
    select runs.run_id from below join runs on runs.project = :project and runs.parent_id = below.run_id
    limit :most
)
select runs.* from below join runs on runs.project = :project and runs.run_id = below.run_id;

-- Runs of a trace, in order of arrival, whether or not their parents are there.
-- name: of_trace
select * from runs where project = ? and root_id = ? order by seq limit ?;

-- name: count_of_trace
select count(*) from runs where project = ? and root_id = ?;

-- name: count_children
select count(*) from runs where project = ? and parent_id = ?;

-- The payloads of a run's events, oldest first.
-- name: run_events
select payload from events where run = ? order by seq limit ?;

-- name: count_run_events
select count(*) from events where run = ?;

-- name: raw_events
select kind, received_us, coalesce(raw, payload) as raw from events where run = ? order by seq limit ?;

-- name: feedback_events
select event_id, run_id, user_key, time_us, received_us, overwrite, body from feedback
where project = :project and run_id = :run_id
union all
select event_id, run_id, user_key, time_us, received_us, overwrite, body from feedback
where project = :project and user_key = :user_key and run_id is not :run_id
order by received_us limit :most;

-- name: usage_events
select * from usage_events
where project = :project and (:kind is null or kind = :kind) and (:customer is null or customer = :customer)
and (:run_id is null or run_id = :run_id) and (:name is null or name = :name)
and (:since_us is null or time_us >= :since_us) and (:until_us is null or time_us < :until_us)
and seq < :before order by seq desc limit :most;

-- name: usage_sums
select kind, name, customer, strftime('%Y-%m-%d', time_us / 1000000, 'unixepoch') as day,
       count(*) as count, sum(value) as value
from usage_events
where project = :project and (:customer is null or customer = :customer)
and (:since_us is null or time_us >= :since_us) and (:until_us is null or time_us < :until_us)
group by kind, name, customer, day order by day desc, kind, name, customer limit :most;

-- name: outcome_costs
with wanted as (
    select name, root_id from usage_events
    where project = :project and kind = 'outcome' and (:customer is null or customer = :customer)
    and (:since_us is null or time_us >= :since_us) and (:until_us is null or time_us < :until_us)
),
traces as (
    select root_id, count(*) as outcomes,
           (select sum(cost) from runs
            where project = :project and runs.root_id = wanted.root_id and type in ('llm', 'embed')) as cost
    from wanted where root_id is not null group by root_id
)
select wanted.name, count(*) as count, sum(traces.cost / traces.outcomes) as cost
from wanted left join traces on traces.root_id = wanted.root_id
group by wanted.name order by wanted.name limit :most;

-- A call that two layers report (an instrumentor within a framework) counts where it was reported lowest; of those that
-- name one response of the provider's in one trace, the first by id.
-- name: token_sums
select type, model, count(*) as count, sum(prompt_tokens) as prompt, sum(completion_tokens) as completion,
       sum(cached_tokens) as cached, sum(cost) as cost
from (
    select r.*, row_number() over (partition by root_id, coalesce(response_id, run_id) order by run_id) as place
    from runs r where r.project = :project and r.type in ('llm', 'embed')
    and (:since_us is null or r.started_us >= :since_us) and (:until_us is null or r.started_us < :until_us)
    and not exists (select 1 from runs c where c.project = r.project and c.parent_id = r.run_id
                    and c.type in ('llm', 'embed') and (c.prompt_tokens is not null or c.total_tokens is not null))
) where place = 1
group by type, model order by count desc limit :most;

-- name: counts_by_type
select type, status, count(*) as count from runs where project = ? group by type, status;

-- name: losses
select destination, process, reason, sum(count) as count, max(time_us) as last_us from losses
where project = ? group by destination, process, reason order by destination, reason, process;

-- name: size
select (select count(*) from runs) as runs, (select count(*) from events) as events,
       (select count(*) from feedback) as feedback, (select count(*) from usage_events) as usage_events,
       (select count(*) from runs where stale = 1) as lag;
