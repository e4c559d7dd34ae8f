-- Old code runs on. Skeletons of names (UTS #39), so that no new name looks like another user's.

-- Of each name as shown and in its other case forms; computed in TypeScript only (src/text.ts). No foreign key: accounts are never deleted.
create table name_skeletons (
  user_id bigint not null,
  skeleton text collate "C" not null,
  is_shown boolean not null,
  primary key (user_id, skeleton)
);

-- names that look like a new one, at each sign-up
create index name_skeletons_skeleton on name_skeletons (skeleton);

-- False in rows written by older versions, until a start or the sweep each minute completes them. When the Unicode data changes, a new file
-- empties name_skeletons and sets this to false.
alter table users add column has_skeletons boolean not null default false;
-- accounts to complete: empty except after an upgrade
create index users_without_skeletons on users (id) where not has_skeletons;

-- An account with a name that looks like a new one, or null. Takes the new name's skeletons, the shown one first. Names look alike when one as
-- shown equals any form of the other. Any form against any form would refuse Greek Αννα beside Latin Anna, since both are ANNA in capitals.
create function lookalike_of(skeletons text[]) returns text
language sql stable
begin atomic
  select u.username
  from name_skeletons s
  join users u on u.id = s.user_id
  where s.skeleton = any(skeletons) and (s.is_shown or s.skeleton = skeletons[1])
  limit 1;
end;

-- Raises unique_violation when a new name looks like another user's. Sign-ups of names that look alike queue here until the first commits; the
-- look-up, a statement of its own in a volatile function, then sees it.
create function refuse_lookalike(skeletons text[]) returns void
language plpgsql volatile
as $$
begin
  perform pg_advisory_xact_lock(11, lock)
  from (select distinct hashtext(s) as lock from unnest(skeletons) as s order by lock) locks; -- in order, to avoid deadlocks
  if lookalike_of(skeletons) is not null then
    raise unique_violation using message = 'the name looks like another';
  end if;
end
$$;
