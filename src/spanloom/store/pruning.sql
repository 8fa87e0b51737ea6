-- Retention: what goes first is what was heard of least lately. Steps are small, so that writers wait only a little.

-- name: runs_older
select seq, project, run_id, started_us from runs where touched_us < ? order by touched_us limit ?;

-- name: runs_oldest
select seq, project, run_id, started_us from runs order by touched_us limit ?;

-- name: forget_events
delete from events where seq in (select seq from events where run = ? limit ?);

-- name: feedback_of_run
select seq, event_id from feedback where project = ? and run_id = ?;

-- name: forget_event_by_id
delete from events where project = ? and event_id = ?;

-- name: forget_feedback
delete from feedback where seq = ?;

-- name: forget_text
delete from run_text where rowid = ?;

-- name: forget_run
delete from runs where seq = ?;

-- name: oldest_touch
select min(touched_us) from runs;

-- Feedback for runs that never came, usage events and loss reports: events without a run, oldest arrival first.
-- name: loose_older
select seq, project, event_id, kind from events where run is null and received_us < ? order by received_us limit ?;

-- name: forget_event
delete from events where seq = ?;

-- name: forget_loose_feedback
delete from feedback where project = ? and event_id = ?;

-- name: forget_loose_usage
delete from usage_events where project = ? and event_id = ?;

-- name: forget_loose_losses
delete from losses where project = ? and event_id = ?;
