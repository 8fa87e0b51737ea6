-- The store, version 1. Times are microseconds since the epoch; "project" keeps tenants apart in every table.
-- Parents are not foreign keys: a child may arrive before its parent, or without it.

create table projects (
    id   integer primary key,
    name text not null unique
);

-- Every record as it came: what was acknowledged, and what a run is folded from. The content lives here and only here.
-- "raw" is the event as received when that differs from our own form of it.
create table events (
    seq         integer primary key,
    project     integer not null,
    event_id    text    not null,
    kind        text    not null,
    run         integer,               -- runs.seq
    time_us     integer,
    received_us integer not null,
    payload     blob    not null,
    raw         blob
);
create unique index events_by_id on events (project, event_id);
create index events_by_run on events (run) where run is not null;

-- One narrow row for each run, so that a million of them can be listed: the columns of columns.py.
create table runs (
    seq                 integer primary key autoincrement,  -- the order of arrival; never used twice
    project             integer not null,
    run_id              text    not null,
    type                text,
    name                text,
    parent_id           text,
    root_id             text,
    status              text,
    user_id             text,
    thread_id           text,
    customer            text,
    user_key            text,
    model               text,
    response_id         text,
    trace_id            text,
    parent_span_id      text,
    service             text,
    runtime             text,
    template_version_id text,
    sampled             integer,
    started_us          integer,
    ended_us            integer,
    first_item_us       integer,
    prompt_tokens       integer,
    completion_tokens   integer,
    cached_tokens       integer,
    reasoning_tokens    integer,
    total_tokens        integer,
    cost                real,
    items               integer,
    error_type          text,
    error_message       text,
    tags                text,                               -- JSON array, sorted
    duration_us         integer,
    origins             text    not null,                   -- who said what, see columns.py
    feedback            text,                               -- JSON object, merged
    received_us         integer not null,
    touched_us          integer not null,                   -- last heard of; retention goes by it
    stale               integer                             -- 1: not in the search index as it is now
);
create unique index runs_by_id       on runs (project, run_id);
create index        runs_by_project  on runs (project);  -- in the order of arrival, which is what lists want
create index        runs_by_type     on runs (project, type);
create index        runs_by_status   on runs (project, status);
create index        runs_by_name     on runs (project, name);
create index        runs_by_start    on runs (project, started_us);
create index        runs_by_user     on runs (project, user_id)   where user_id   is not null;
create index        runs_by_thread   on runs (project, thread_id) where thread_id is not null;
create index        runs_by_customer on runs (project, customer)  where customer  is not null;
create index        runs_by_model    on runs (project, model)     where model     is not null;
create index        runs_by_parent   on runs (project, parent_id) where parent_id is not null;
create index        runs_by_root     on runs (project, root_id)   where root_id   is not null;
create index        runs_by_key      on runs (project, user_key)  where user_key  is not null;
create index        runs_by_touch    on runs (touched_us);
create index        runs_stale       on runs (stale)              where stale     is not null;

-- Feedback as given, by run or by the user's key; merged into runs.feedback whenever either side arrives.
create table feedback (
    seq         integer primary key,
    project     integer not null,
    event_id    text    not null,
    run_id      text,
    user_key    text,
    time_us     integer not null,
    received_us integer not null,
    overwrite   integer not null,
    body        text    not null
);
create index feedback_by_run   on feedback (project, run_id)   where run_id   is not null;
create index feedback_by_key   on feedback (project, user_key) where user_key is not null;
create index feedback_by_event on feedback (project, event_id);

-- Actions and outcomes. The idempotency key counts once for ever: the first to arrive stands.
create table usage_events (
    seq             integer primary key,
    project         integer not null,
    event_id        text    not null,
    kind            text    not null,
    idempotency_key text    not null,
    name            text    not null,
    customer        text,
    value           real    not null,
    time_us         integer,
    received_us     integer not null,
    run_id          text,
    root_id         text,
    user_id         text,
    metered         text,
    properties      text,
    labels          text
);
create unique index usage_by_key      on usage_events (project, idempotency_key);
create index        usage_by_customer on usage_events (project, customer, time_us);
create index        usage_by_time     on usage_events (project, time_us);
create index        usage_by_run      on usage_events (project, run_id)  where run_id  is not null;
create index        usage_by_root     on usage_events (project, root_id) where root_id is not null;

-- What clients say they lost.
create table losses (
    seq         integer primary key,
    project     integer not null,
    event_id    text    not null,
    destination text    not null,
    process     text,
    reason      text    not null,
    count       integer not null,
    time_us     integer,
    received_us integer not null
);
create index losses_by_reason on losses (project, destination, reason);
