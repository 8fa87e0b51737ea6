-- What the writer says to the database. Each query has a name of its own; every value is a parameter.

-- name: project_id
select id from projects where name = :name;

-- name: add_project
insert into projects (name) values (:name);

-- name: run_by_id
select * from runs where project = ? and run_id = ?;

-- name: last_run_seq
select seq from sqlite_sequence where name = 'runs';

-- name: add_event
insert into events (project, event_id, kind, run, time_us, received_us, payload, raw) values (?, ?, ?, ?, ?, ?, ?, ?)
on conflict (project, event_id) do nothing;

-- name: event_payload
select payload from events where project = ? and event_id = ?;

-- name: add_feedback
insert into feedback (project, event_id, run_id, user_key, time_us, received_us, overwrite, body)
values (?, ?, ?, ?, ?, ?, ?, ?);

-- name: any_feedback
select 1 from feedback where project = ? limit 1;

-- name: feedback_for_run
select time_us, overwrite, body from feedback where project = :project and run_id = :run_id
union all
select time_us, overwrite, body from feedback where project = :project and user_key = :user_key;

-- name: runs_with_key
select run_id, seq, user_key from runs where project = ? and user_key = ?;

-- name: run_key
select run_id, seq, user_key from runs where project = ? and run_id = ?;

-- name: set_feedback
update runs set feedback = ?, touched_us = max(touched_us, ?) where seq = ?;

-- name: usage_by_key
select event_id, kind, name, customer, value, properties, labels from usage_events
where project = ? and idempotency_key = ?;

-- name: add_usage
insert into usage_events (project, event_id, kind, idempotency_key, name, customer, value, time_us, received_us,
                          run_id, root_id, user_id, metered, properties, labels)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_loss
insert into losses (project, event_id, destination, process, reason, count, time_us, received_us)
values (?, ?, ?, ?, ?, ?, ?, ?);
