-- Names: refusing lookalikes, listing and searching.

-- Skeletons (UTS #39) of each name as shown and in its other case forms; computed only in
-- src/util/text.ts. No foreign key: rows of users are never deleted (deleted_at). When the Unicode
-- data changes, a new file empties this table and sets users.has_skeletons to false.
create table name_skeletons (
  user_id bigint not null,
  skeleton text collate "C" not null,
  is_shown boolean not null,
  primary key (user_id, skeleton)
);

-- names that look like a new one, at each sign-up
create index name_skeletons_skeleton on name_skeletons (skeleton);

-- An account with a name that looks like a new one, or null. Takes the new name's skeletons, the
-- shown one first. Names look alike when one as shown equals any form of the other. Any form
-- against any form would refuse Greek Αννα beside Latin Anna, since both are ANNA in capitals.
create function lookalike_of(skeletons text[]) returns text
language sql stable
begin atomic
  select u.username
  from name_skeletons s
  join users u on u.id = s.user_id
  where s.skeleton = any(skeletons) and (s.is_shown or s.skeleton = skeletons[1])
  limit 1;
end;

-- Raises unique_violation when a new name looks like another user's. Sign-ups of names that look
-- alike queue here until the first commits; the lookup, a statement of its own in a volatile
-- function, then sees it.
create function refuse_lookalike(skeletons text[]) returns void
language plpgsql volatile
as $$
begin
  perform pg_advisory_xact_lock(11, lock)
  from (
    select distinct hashtext(s) as lock
    from unnest(skeletons) as s
    order by lock -- to avoid deadlocks
  ) locks;
  if lookalike_of(skeletons) is not null then
    raise unique_violation using message = 'the name looks like another';
  end if;
end
$$;

-- A page of the list of all names, after a place in its order. Includes names that are not shown,
-- so that only the last page is short.
create function names_after(after_key text, after_id bigint, most bigint)
returns table (username text, search_key text, id bigint, is_shown boolean)
language sql stable
-- A plan made while the table was small would read and sort all names for each page (measured: 0.2
-- to 0.4 s with 300,000).
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
as $$
  select u.username, u.search_key, u.id, u.disabled_at is null and u.deleted_at is null
  from users u
  where (u.search_key, u.id) > (after_key, after_id)
  order by u.search_key, u.id
  limit most
$$;

-- The pairs of adjacent characters in a name. Few names contain all pairs of a query and not the
-- query itself, so an index over pairs finds names by any part. Built in; pg_trgm is an extension,
-- which the role may not be allowed to create.
create function name_pairs(search_key text)
returns text[]
language plpgsql immutable strict parallel safe
as $$
declare
  pairs text[] := '{}';
begin
  for at in 1 .. length(search_key) - 1 loop
    pairs := pairs || substr(search_key, at, 2);
  end loop;
  return pairs;
end
$$;

-- /get_users?part=: 14 MB with 300,000 accounts
create index users_name_pairs on users using gin (name_pairs(search_key));

-- At most `most` names that contain `part`, a search key; those that begin with it first. A single
-- character has no pair, so it finds only those. Omits disabled and deleted accounts, and
-- except_username.
create function find_names(part text, except_username text, most bigint)
returns setof text
language sql stable
-- with a limit the planner would rather read the whole table, hoping for early matches
set enable_seqscan = off
as $$
  with found as (
    (
      select username, search_key, id, 0 as rank
      from users
      where
        search_key >= part
        and search_key < part || chr(1114111) -- no name contains the last code point
        and username <> except_username
        and disabled_at is null
        and deleted_at is null
      order by search_key, id
      limit most
    )
    union all
    (
      select username, search_key, id, 1
      from users
      where
        length(part) > 1
        and name_pairs(search_key) @> name_pairs(part)
        and position(part in search_key) > 1
        and username <> except_username
        and disabled_at is null
        and deleted_at is null
      limit most
    )
  )
  select username
  from found
  order by rank, search_key, id
  limit most
$$;
