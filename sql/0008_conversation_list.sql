-- Old code runs on
-- How a user keeps their conversation list in order: timed mutes, pins, the archive, unread marks.

-- Per member, as the counters are: when they pinned the conversation, and its last_seq when they
-- archived it. It is archived as long as last_seq is the same, so that a message ends it without a
-- write of its own. Not in memberships: a list reads them for every conversation of the user. A join
-- there doubled its time with 100,000 conversations, and took minutes when the planner expected few.
alter table conversations
  add column low_pinned_at timestamptz,
  add column high_pinned_at timestamptz,
  add column low_archived_seq bigint,
  add column high_archived_seq bigint;

-- the count of a user's pinned conversations, and of the archived ones
create index conversations_low_set_apart on conversations (low, low_pinned_at)
where low_pinned_at is not null or low_archived_seq is not null;
create index conversations_high_set_apart on conversations (high, high_pinned_at)
where high_pinned_at is not null or high_archived_seq is not null;

alter table memberships
  -- The end of a timed mute. `muted` is a mute without an end; only that is known to older pods.
  add column muted_until timestamptz,
  -- The owner's read mark when they marked the conversation as unread. The mark holds as long as the
  -- read mark is the same.
  add column marked_unread_seq bigint,
  -- Raised by one with every change of a mute, a pin, the archive or an unread mark: of two frames, the
  -- one with the higher revision is newer.
  add column settings_revision bigint not null default 0;

drop index memberships_muted;
-- the few peers that a user mutes among thousands
create index memberships_muted on memberships (owner, peer) where muted or muted_until is not null;

-- Changes a user's side of a conversation; null leaves a part as it is. `mute_seconds`: the mute ends
-- after this time. Pinning ends the archive; archiving does not unpin.
--
-- `outcome`: `changed`, with the membership as it is now; or the code of the error. Without messages
-- that the owner can see, only the mute can change.
--
-- Volatile, so that each statement sees everything committed before it began: the pins are counted
-- under a lock.
create function change_membership(
  member text, member_peer text, new_muted boolean, mute_seconds bigint,
  new_pinned boolean, new_archived boolean, new_marked_unread boolean, pins_max bigint
)
returns table (
  outcome text, settings_revision bigint, muted boolean, muted_until timestamptz, pinned_at timestamptz,
  archived_seq bigint, marked_unread_seq bigint
)
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off -- as for mark_read
as $$
#variable_conflict use_column
declare
  conversation conversations;
  membership memberships;
  -- the end of what the member can see
  end_seq bigint;
  is_low boolean;
  member_pinned_at timestamptz;
  pins bigint;
begin
  if new_muted then
    insert into conversations as c (low, high, last_at)
    values (least(member collate "C", member_peer), greatest(member collate "C", member_peer), to_timestamp(0))
    on conflict (low, high) do update
    set last_at = c.last_at -- changes nothing, but locks and returns it
    returning c.* into conversation;
  else
    select c.* into conversation
    from conversations c
    where c.low = least(member collate "C", member_peer) and c.high = greatest(member collate "C", member_peer)
    for update;
  end if;
  select m.* into membership from memberships m where m.owner = member and m.peer = member_peer;

  end_seq := coalesce(membership.blocked_seq, conversation.last_seq, 0);
  if end_seq = 0 and coalesce(new_pinned, new_archived, new_marked_unread) is not null then
    return query select 'not_found', 0::bigint, false, null::timestamptz, null::timestamptz, null::bigint, null::bigint;
    return;
  end if;

  -- For pods that miss the event. It also serializes the changes of a user, after the conversation's
  -- lock as in every other statement that takes both.
  update users u set changed_at = clock_timestamp() where u.username = member;

  is_low := conversation.low = member;
  member_pinned_at := case when is_low then conversation.low_pinned_at else conversation.high_pinned_at end;
  if new_pinned and member_pinned_at is null then
    select count(*) into pins
    from (
      (select from conversations c where c.low = member and c.low_pinned_at is not null limit pins_max)
      union all
      (select from conversations c where c.high = member and c.low <> c.high and c.high_pinned_at is not null limit pins_max)
    ) pinned;
    if pins >= pins_max then
      return query select 'too_many_pins', 0::bigint, false, null::timestamptz, null::timestamptz, null::bigint, null::bigint;
      return;
    end if;
  end if;

  if new_pinned is not null or new_archived is not null then
    update conversations c
    set
      low_pinned_at = case
        when not is_low or new_pinned is null then c.low_pinned_at
        when new_pinned then coalesce(c.low_pinned_at, clock_timestamp())
      end,
      high_pinned_at = case
        when is_low or new_pinned is null then c.high_pinned_at
        when new_pinned then coalesce(c.high_pinned_at, clock_timestamp())
      end,
      low_archived_seq = case
        when is_low and new_archived then end_seq
        when is_low and (not new_archived or new_pinned) then null
        else c.low_archived_seq
      end,
      high_archived_seq = case
        when not is_low and new_archived then end_seq
        when not is_low and (not new_archived or new_pinned) then null
        else c.high_archived_seq
      end
    where c.id = conversation.id
    returning c.* into conversation;
  end if;

  update memberships m
  set
    muted = case when new_muted is null then m.muted else new_muted and mute_seconds is null end,
    muted_until = case
      when new_muted is null then m.muted_until
      when new_muted then clock_timestamp() + mute_seconds * interval '1 second' -- null without an end
    end,
    marked_unread_seq = case
      when new_marked_unread is null then m.marked_unread_seq
      when new_marked_unread then case
        when conversation.low = conversation.high then conversation.last_seq
        when is_low then conversation.low_read_seq
        else conversation.high_read_seq
      end
    end,
    settings_revision = m.settings_revision + 1
  where m.owner = member and m.peer = member_peer
  returning m.* into membership;

  return query
  select
    'changed', coalesce(membership.settings_revision, 0), coalesce(membership.muted, false), membership.muted_until,
    case when is_low then conversation.low_pinned_at else conversation.high_pinned_at end,
    case when is_low then conversation.low_archived_seq else conversation.high_archived_seq end,
    membership.marked_unread_seq;
end
$$;
