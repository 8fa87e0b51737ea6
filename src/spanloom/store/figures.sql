-- Figures over time: summed by the hour behind the commits, and read.

-- name: mark
insert into hours (project, hour, stale, touched_us) values (?, ?, 1, ?)
on conflict (project, hour) do update set stale = 1, touched_us = excluded.touched_us;

-- name: next_stale
select project, hour, touched_us from hours where stale = 1 and touched_us < ? and hour < ? order by hour desc limit 1;

-- name: unchanged
select 1 from hours where project = :project and hour = :hour and stale = 1 and touched_us = :touched_us;

-- name: forget
delete from figures where project = :project and dim = :dim and hour = :hour;

-- name: keep
insert into figures (project, dim, hour, value, type, bucket, runs, errors, duration_us, prompt, completion, cost)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: fresh
update hours set stale = 0 where project = :project and hour = :hour;

-- name: gone
delete from hours where project = :project and hour = :hour;

-- name: stale_between
select hour from hours where project = ? and hour >= ? and hour < ? and stale = 1 order by hour;
