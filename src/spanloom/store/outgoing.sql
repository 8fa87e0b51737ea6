-- Records as they go out to a file of JSON Lines.

-- name: all_events
select seq, payload, raw from events where project = :project and seq > :after order by seq limit :most;

-- name: event
select payload, raw from events where seq = ?;

-- name: events_of_run
select seq from events where run = :seq
union
select events.seq from feedback join events on events.project = feedback.project and events.event_id = feedback.event_id
where feedback.project = :project and feedback.run_id = :run_id
union
select events.seq from feedback join events on events.project = feedback.project and events.event_id = feedback.event_id
where feedback.project = :project and feedback.user_key = :user_key
union
select events.seq from usage_events
join events on events.project = usage_events.project and events.event_id = usage_events.event_id
where usage_events.project = :project and usage_events.run_id = :run_id;
