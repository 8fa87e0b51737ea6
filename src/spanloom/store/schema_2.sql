-- Version 2: figures over time are kept by the hour, behind the commits (figures.py); counts by type and status come
-- from an index alone.
drop index runs_by_type;
create index runs_by_type on runs (project, type, status);

-- The hours (since the epoch) in which runs of a project started. "stale" 1: its figures are to be summed anew, and
-- until then it is summed when it is asked for.
create table hours (
    project    integer not null,
    hour       integer not null,
    stale      integer not null,
    touched_us integer not null,
    primary key (project, hour)
) without rowid;
create index hours_stale on hours (hour) where stale = 1;

-- The runs of an hour that share one value ("dim" says of what, see figures.py), a type and a bucket of durations.
create table figures (
    seq         integer primary key,
    project     integer not null,
    dim         integer not null,
    hour        integer not null,
    value       text,
    type        text,
    bucket      integer,
    runs        integer not null,
    errors      integer not null,
    duration_us integer,
    prompt      integer,
    completion  integer,
    cost        real
);
create index figures_by_hour on figures (project, dim, hour);

insert into hours (project, hour, stale, touched_us)
select distinct project, (started_us - (started_us < 0) * 3599999999) / 3600000000, 1, 0
from runs where started_us is not null;

-- Events without a run, so that retention finds the old ones among millions that have one.
create index events_loose on events (received_us) where run is null;
