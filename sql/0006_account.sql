-- What people decide about themselves and about others: blocks, mutes, who may see what, drafts, and accounts that are gone.

alter table users
  -- mutual: who hides it does not see it of others
  add column hide_read boolean not null default false,
  add column hide_last_seen boolean not null default false,
  -- when a block, a mute or one of the two above was changed last: beside conversations, what a pod asks for that may have missed something
  add column changed_at timestamptz,
  -- A row stays where an account was, so that nobody else ever gets the name and with it the conversations of whoever had it.
  add column deleted_at timestamptz,
  -- when nothing was left to be erased behind it
  add column erased_at timestamptz;

-- behind whom something may have to be erased: empty but for minutes
create index users_to_erase on users (id) where deleted_at is not null and erased_at is null;

-- Beside the numbers, so that the statement that stores a message says whether its receiver is to hear of it without looking further.
-- A row with last_seq 0 holds nothing else: it is no conversation to anybody.
alter table conversations
  add column low_blocks boolean not null default false,
  add column high_blocks boolean not null default false,
  add column low_muted boolean not null default false,
  add column high_muted boolean not null default false,
  add check (low < high or not (low_blocks or high_blocks));

-- By what their owner tells sessions apart: what the browser said it is, where it signed in, when it was last used.
alter table sessions
  add column agent text,
  add column address text,
  add column last_used_at timestamptz not null default now();

-- What somebody has begun to write, the same on all their devices.
create table drafts (
  owner text collate "C" not null,
  peer text collate "C" not null,
  text text not null,
  at timestamptz not null,
  primary key (owner, peer)
);

-- Read marks as before, but: who blocks somebody marks nothing of theirs, and each mark says who may hear of it. `told`: the one who wrote
-- may know that it was read. `reached`: that it has arrived, which this mark is the first to say; for those who may not know the rest.
drop function mark_read(text[], text[], bigint[]);
create function mark_read(readers text[], peer_keys text[], seqs bigint[])
returns table (reader text, peer text, read_seq bigint, more boolean, told boolean, reached boolean)
language plpgsql volatile
-- A plan made while the tables were small must not outlive their growth: only the plans by index are ever right here.
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  ids bigint[];
begin
  -- in key order, as every writer takes them, so that nobody deadlocks
  select array_agg(locked.id) into ids
  from (
    select c.id
    from conversations c
    where (c.low, c.high) in (
      select least(t.reader collate "C", u.username), greatest(t.reader collate "C", u.username)
      from unnest(readers, peer_keys) as t (reader, peer_key)
      join users u on u.name_key = t.peer_key
    )
    order by c.low, c.high
    for update
  ) locked;

  return query
  with marks as (
    select
      c.id,
      c.low,
      c.high,
      t.reader collate "C" as reader,
      u.username as peer,
      c.low = t.reader as is_low,
      case when c.low = t.reader then c.low_read_seq else c.high_read_seq end as old_seq,
      case when c.low = t.reader then c.low_delivered_seq else c.high_delivered_seq end as delivered_seq,
      case when c.low = t.reader then c.low_unread else c.high_unread end as unread,
      case when c.low = t.reader then c.high_blocks else c.low_blocks end as deaf, -- the peer hears nothing of the reader
      r.hide_read or u.hide_read as hidden,
      least(max(t.seq), c.last_seq) as asked_seq
    from unnest(readers, peer_keys, seqs) as t (reader, peer_key, seq)
    join users u on u.name_key = t.peer_key
    join users r on r.username = t.reader
    join conversations c
      on c.low = least(t.reader collate "C", u.username) and c.high = greatest(t.reader collate "C", u.username)
    where
      c.id = any(ids)
      and c.low <> c.high -- notes to oneself are read at once
      and not case when c.low = t.reader then c.low_blocks else c.high_blocks end
    group by
      c.id, c.low, c.high, c.low_read_seq, c.high_read_seq, c.low_delivered_seq, c.high_delivered_seq, c.low_unread, c.high_unread,
      c.low_blocks, c.high_blocks, c.last_seq, t.reader, u.username, r.hide_read, u.hide_read
  ), steps as materialized (
    select
      m.id, m.low, m.high, m.reader, m.peer, m.is_low, m.old_seq, m.asked_seq, least(m.asked_seq, m.old_seq + 5000) as new_seq,
      not m.deaf and not m.hidden as told,
      not m.deaf and m.delivered_seq < least(m.asked_seq, m.old_seq + 5000) as reached
    from marks m
    where m.asked_seq > m.old_seq and m.unread > 0
  ), seen as (
    update messages m
    set read = true
    from steps s
    where m.conversation_id = s.id and m.seq > s.old_seq and m.seq <= s.new_seq and m.sender = s.peer and not m.read
    returning s.low, s.high, s.reader, s.peer, s.is_low, s.new_seq, s.asked_seq, s.told, s.reached, 1 as passes
  ), passed as materialized (
    select p.low, p.high, p.reader, p.peer, p.is_low, p.new_seq, p.asked_seq, p.told, p.reached, sum(p.passes) as count
    from (
      select * from seen
      union all
      -- a step that passes nothing still moves when there is more behind it
      select s.low, s.high, s.reader, s.peer, s.is_low, s.new_seq, s.asked_seq, s.told, s.reached, 0
      from steps s
      where s.new_seq < s.asked_seq
    ) p
    group by p.low, p.high, p.reader, p.peer, p.is_low, p.new_seq, p.asked_seq, p.told, p.reached
  ), sides as (
    select
      p.low,
      p.high,
      max(p.new_seq) filter (where p.is_low) as low_seq,
      max(p.new_seq) filter (where not p.is_low) as high_seq,
      coalesce(sum(p.count) filter (where p.is_low), 0) as low_count,
      coalesce(sum(p.count) filter (where not p.is_low), 0) as high_count
    from passed p
    group by p.low, p.high
  ), moved as (
    update conversations c
    set
      low_read_seq = greatest(c.low_read_seq, s.low_seq),
      high_read_seq = greatest(c.high_read_seq, s.high_seq),
      low_delivered_seq = greatest(c.low_delivered_seq, s.low_seq),
      high_delivered_seq = greatest(c.high_delivered_seq, s.high_seq),
      low_unread = c.low_unread - s.low_count,
      high_unread = c.high_unread - s.high_count,
      marked_at = clock_timestamp()
    from sides s
    where c.low = s.low and c.high = s.high
  )
  select p.reader, p.peer, p.new_seq, p.new_seq < p.asked_seq, p.told, p.reached
  from passed p;
end
$$;
