-- Advances many read marks at once: (reader, the peer's name key, seq) at the same place of the
-- three arrays. A mark ends at the end of the conversation and advances by at most 5,000 numbers
-- per call, to bound the lock; `has_more`: it stopped short. A mark that passes no message of the
-- peer returns no row, and neither does one of a reader who blocks the peer.
--
-- `is_shown_to_peer`: the peer may be notified of the read mark. `is_newly_delivered`: the peer may
-- be notified that these messages were delivered, which no earlier mark said; for peers who must
-- not see the read mark.
--
-- Volatile, so that each statement sees everything committed before it began: in one plain
-- statement the count would come from before the lock, which has been seen to leave 0 where 1 was
-- unread.
create function mark_read(readers text[], peer_keys text[], seqs bigint[])
returns table (reader text, peer text, read_seq bigint, has_more boolean, is_shown_to_peer boolean, is_newly_delivered boolean)
language plpgsql volatile
-- A plan made while the tables were small must not outlive their growth: only index scans are right
-- here, and no bitmap, which would combine two indexes and read everything a sender ever wrote.
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  ids bigint[];
begin
  -- in key order, as every writer locks them, so pods cannot deadlock
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
      c.blocked_by is not null as is_blocked, -- by the peer: the reader's blocks are filtered out
      r.hide_read or u.hide_read as is_hidden,
      least(max(t.seq), c.last_seq) as asked_seq
    from unnest(readers, peer_keys, seqs) as t (reader, peer_key, seq)
    join users u on u.name_key = t.peer_key
    join users r on r.username = t.reader
    join conversations c
      on c.low = least(t.reader collate "C", u.username) and c.high = greatest(t.reader collate "C", u.username)
    where
      c.id = any(ids)
      and c.low <> c.high -- notes to self are read at once
      and (c.blocked_by is null or t.reader <> all(c.blocked_by))
    group by c.id, t.reader, u.username, r.hide_read, u.hide_read
  ), steps as materialized (
    select
      m.id, m.low, m.high, m.reader, m.peer, m.is_low, m.old_seq, m.asked_seq, least(m.asked_seq, m.old_seq + 5000) as new_seq,
      not m.is_blocked and not m.is_hidden as is_shown_to_peer,
      not m.is_blocked and m.delivered_seq < least(m.asked_seq, m.old_seq + 5000) as is_newly_delivered
    from marks m
    where m.asked_seq > m.old_seq and m.unread > 0
  ), seen as (
    update messages m
    set read = true
    from steps s
    where m.conversation_id = s.id and m.seq > s.old_seq and m.seq <= s.new_seq and m.sender = s.peer and not m.read
    returning s.low, s.high, s.reader, s.peer, s.is_low, s.new_seq, s.asked_seq, s.is_shown_to_peer, s.is_newly_delivered, 1 as passes
  ), passed as materialized (
    select p.low, p.high, p.reader, p.peer, p.is_low, p.new_seq, p.asked_seq, p.is_shown_to_peer, p.is_newly_delivered, sum(p.passes) as count
    from (
      select * from seen
      union all
      -- a step that passes nothing still moves when more follows
      select s.low, s.high, s.reader, s.peer, s.is_low, s.new_seq, s.asked_seq, s.is_shown_to_peer, s.is_newly_delivered, 0
      from steps s
      where s.new_seq < s.asked_seq
    ) p
    group by p.low, p.high, p.reader, p.peer, p.is_low, p.new_seq, p.asked_seq, p.is_shown_to_peer, p.is_newly_delivered
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
  select p.reader, p.peer, p.new_seq, p.new_seq < p.asked_seq, p.is_shown_to_peer, p.is_newly_delivered
  from passed p;
end
$$;
