-- Old code runs on
-- Changes to messages: edits, deletions and reactions; and replies.

-- Raised by one with every change, which also sets marked_at, under the conversation's row lock,
-- which also orders seq. A client that has all changes up to a revision lacks exactly the messages
-- with a higher one.
alter table conversations add column revision bigint not null default 0;

-- The revision when the owner blocked the peer: the peer's later changes are not shown.
alter table memberships add column blocked_revision bigint;

alter table messages
  -- the seq of a message of the same conversation
  add column reply_to bigint,
  add column edited_at timestamptz,
  -- The content is then empty; the row and its seq remain.
  add column deleted_at timestamptz,
  -- one emoji per user
  add column sender_reaction text,
  add column receiver_reaction text,
  -- of the last change; null in messages that never changed
  add column revision bigint;

-- the changes that a client lacks; sending a message does not touch this index
create index messages_changed on messages (conversation_id, revision) where revision is not null;

-- Who made which change, so that a resent one is not made twice. `change_hash` distinguishes a
-- resend from a different change that reuses the ref, without keeping the text. Kept for 30 days.
create table change_refs (
  sender text collate "C" not null,
  ref text collate "C" not null,
  conversation_id bigint not null,
  seq bigint not null,
  change_hash text not null,
  at timestamptz not null,
  primary key (sender, ref)
);

-- for the sweep of old rows
create index change_refs_at on change_refs (at);

-- Messages as a user who blocks their peer sees them, if the peer changed them after the block.
create table frozen_messages (
  conversation_id bigint not null,
  owner text collate "C" not null,
  seq bigint not null,
  content text not null,
  edited_at timestamptz,
  deleted_at timestamptz,
  sender_reaction text,
  receiver_reaction text,
  revision bigint,
  primary key (conversation_id, owner, seq)
);

-- Ends the block of a peer: the owner then sees all that was said and changed meanwhile. Volatile,
-- since a change that held the lock may have frozen a message.
create function end_block(blocker text, blocked text) returns void
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off -- as for mark_read
as $$
declare
  conversation_of_block bigint;
begin
  update conversations c
  set blocked_by = nullif(array_remove(c.blocked_by, blocker), '{}')
  where c.low = least(blocker collate "C", blocked) and c.high = greatest(blocker collate "C", blocked)
  returning c.id into conversation_of_block;
  delete from frozen_messages f where f.conversation_id = conversation_of_block and f.owner = blocker;
  update memberships m
  set blocked_seq = null, blocked_at = null, blocked_revision = null
  where m.owner = blocker and m.peer = blocked;
end
$$;

-- Makes many changes, in the given order. `kind` is `edit`, `delete` or `react`; `text` the new
-- content or emoji. A window of null is unlimited.
--
-- `outcome`: `changed`; `repeated`, when this ref made the change earlier; `unchanged`, when the
-- message already is as asked; or the code of the error. With the first three, the message follows.
-- `is_shown_to_peer`: neither blocks the other.
--
-- Volatile, so that each statement sees everything committed before it began, including by the
-- sessions that held the locks.
create function change_messages(
  actors text[], peer_keys text[], kinds text[], seqs bigint[], texts text[], refs text[],
  edit_window interval, delete_window interval
)
returns table (
  place bigint, outcome text, peer text, is_shown_to_peer boolean, hides_read boolean,
  sender text, receiver text, content text, "timestamp" timestamptz, read boolean, id bigint, seq bigint, ref text,
  reply_to bigint, edited_at timestamptz, deleted_at timestamptz, sender_reaction text, receiver_reaction text, revision bigint
)
language plpgsql volatile
-- as for mark_read: a plan made while the tables were small must not outlive their growth
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  change record;
  peer_user users;
  conversation conversations;
  message messages;
  made change_refs;
  frozen frozen_messages;
  result text;
  hash text;
  time_limit interval;
begin
  -- in key order, as every writer locks them, so pods cannot deadlock
  perform c.id
  from conversations c
  where (c.low, c.high) in (
    select least(t.actor collate "C", u.username), greatest(t.actor collate "C", u.username)
    from unnest(actors, peer_keys) as t (actor, peer_key)
    join users u on u.name_key = t.peer_key
  )
  order by c.low, c.high
  for update;

  for change in
    select t.*
    from unnest(actors, peer_keys, kinds, seqs, texts, refs) with ordinality as t (actor, peer_key, kind, seq, text, ref, place)
    order by t.place
  loop
    message := null;
    select u.* into peer_user from users u where u.name_key = change.peer_key;
    if not found then
      return query select change.place, 'no_such_user', null, false, false, null, null, null, null::timestamptz, false,
        null::bigint, null::bigint, null, null::bigint, null::timestamptz, null::timestamptz, null, null, null::bigint;
      continue;
    end if;
    select c.* into conversation
    from conversations c
    where c.low = least(change.actor collate "C", peer_user.username) and c.high = greatest(change.actor collate "C", peer_user.username);
    select m.* into message from messages m where m.conversation_id = conversation.id and m.seq = change.seq;
    select r.* into made from change_refs r where r.sender = change.actor and r.ref = change.ref;
    hash := left(encode(sha256(convert_to(change.kind || ' ' || change.text, 'UTF8')), 'hex'), 16);
    time_limit := case change.kind when 'edit' then edit_window when 'delete' then delete_window end;

    result := case
      when made.ref is not null then
        case
          when made.conversation_id = message.conversation_id and made.seq = message.seq and made.change_hash = hash
            then 'repeated'
          else 'ref_reused'
        end
      when change.actor = any(conversation.blocked_by) then 'blocked'
      when message.seq is null then 'no_such_message'
      -- mutation: own messages only
      when change.kind <> 'react' and message.sender <> change.actor then 'not_yours'
      when message.deleted_at is not null then case when change.kind = 'delete' then 'unchanged' else 'no_such_message' end
      when message.timestamp < clock_timestamp() - time_limit then 'too_late'
      when change.kind = 'edit' and message.content = change.text then 'unchanged'
      when change.kind = 'react'
        and coalesce(case when message.sender = change.actor then message.sender_reaction else message.receiver_reaction end, '') = change.text
        then 'unchanged'
      else 'changed'
    end;

    if result = 'changed' then
      insert into change_refs (sender, ref, conversation_id, seq, change_hash, at)
      values (change.actor, change.ref, conversation.id, change.seq, hash, clock_timestamp())
      on conflict do nothing;
      -- Not inserted: another pod has just used this ref for a change in another conversation.
      if not found then result := 'ref_reused'; end if;
    end if;

    if result = 'changed' then
      if conversation.blocked_by is not null then -- by the peer: an actor who blocks got `blocked`
        insert into frozen_messages (
          conversation_id, owner, seq, content, edited_at, deleted_at, sender_reaction, receiver_reaction, revision
        )
        values (
          conversation.id, peer_user.username, change.seq, message.content, message.edited_at, message.deleted_at,
          message.sender_reaction, message.receiver_reaction, message.revision
        )
        on conflict do nothing; -- frozen at the first change after the block
      end if;

      update conversations c
      set
        revision = c.revision + 1,
        marked_at = clock_timestamp(),
        low_unread = c.low_unread - case when change.kind = 'delete' and not message.read and message.receiver = c.low then 1 else 0 end,
        high_unread = c.high_unread - case when change.kind = 'delete' and not message.read and message.receiver = c.high then 1 else 0 end
      where c.id = conversation.id
      returning c.revision into conversation.revision;

      update messages m
      set
        revision = conversation.revision,
        content = case change.kind when 'edit' then change.text when 'delete' then '' else m.content end,
        edited_at = case change.kind when 'edit' then clock_timestamp() when 'react' then m.edited_at end,
        deleted_at = case change.kind when 'delete' then clock_timestamp() end,
        read = m.read or change.kind = 'delete', -- a deleted message is not unread
        sender_reaction = case
          when change.kind = 'delete' then null
          when change.kind = 'react' and m.sender = change.actor then nullif(change.text, '')
          else m.sender_reaction
        end,
        receiver_reaction = case
          when change.kind = 'delete' then null
          when change.kind = 'react' and m.sender <> change.actor then nullif(change.text, '')
          else m.receiver_reaction
        end
      where m.conversation_id = conversation.id and m.seq = change.seq
      returning m.* into message;
    end if;

    -- Only with `repeated`: an actor who blocked the peer after making this change sees the message
    -- without what the peer changed after the block.
    for frozen in
      select f.*
      from frozen_messages f
      where f.conversation_id = conversation.id and f.owner = change.actor and f.seq = change.seq
    loop
      message.content := frozen.content;
      message.edited_at := frozen.edited_at;
      message.deleted_at := frozen.deleted_at;
      message.sender_reaction := frozen.sender_reaction;
      message.receiver_reaction := frozen.receiver_reaction;
      message.revision := frozen.revision;
    end loop;

    return query
    select
      change.place, result, peer_user.username, conversation.blocked_by is null,
      (select bool_or(u.hide_read) from users u where u.username in (change.actor, peer_user.username)),
      message.sender, message.receiver, message.content, message.timestamp, message.read, message.id, message.seq, message.ref,
      message.reply_to, message.edited_at, message.deleted_at, message.sender_reaction, message.receiver_reaction, message.revision;
  end loop;
end
$$;
