-- The search index and what fills it, behind the commits.

-- name: index_exists
select 1 from sqlite_master where name = 'run_text';

-- name: make_index
create virtual table if not exists run_text using fts5(body, tokenize = 'unicode61 remove_diacritics 2');

-- name: stale_runs
select seq, project, name, error_message, error_type from runs where stale = 1 order by seq limit ?;

-- name: run_payloads
select payload from events where run = ? and kind in ('start', 'end', 'chat') and length(payload) <= 1000000
order by seq limit 64;

-- name: forget_text
delete from run_text where rowid = ?;

-- name: add_text
insert into run_text (rowid, body) values (?, ?);

-- name: fresh
update runs set stale = null where seq = ?;

-- name: lag
select count(*) from runs where stale = 1;
