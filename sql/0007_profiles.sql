-- Old code runs on: it shows no display names and photos.

-- What a user shows beside the name: a display name, which need not be unique, and a photo.
create table profiles (
  user_id bigint primary key references users (id) on delete cascade,
  display_name text,
  -- by which searches find it (searchKey in src/util/text.ts)
  display_key text collate "C",
  named_at timestamptz,
  photo bytea,
  photo_version text collate "C",
  photo_at timestamptz,
  changed_at timestamptz not null
);

-- WebP does not compress further. Out of line, so that names are read without it.
alter table profiles alter column photo set storage external;

-- /get_users?part= and /conversations?part=: display names by their beginning, and by any part
create index profiles_display_key on profiles (display_key) where display_key is not null;
create index profiles_display_pairs on profiles using gin (name_pairs(display_key)) where display_key is not null;

-- after a loss between pods: what was changed meanwhile
create index profiles_changed_at on profiles (changed_at);

-- When a block began; null for blocks by older code, which then count from the last message
-- before them (blocked_at). Means nothing without blocked_seq.
alter table memberships add column blocked_since timestamptz;

-- The profile of a user as `viewer` sees it. While one of them blocks the other, neither sees what
-- the other sets from then on; what was set before stays, so that a block is not revealed.
create function shown_profile(viewer text, person_id bigint, person text)
returns table (display_name text, display_key text, photo_version text)
language sql stable
as $$
  select
    case when b.since is null or p.named_at < b.since then p.display_name end,
    case when b.since is null or p.named_at < b.since then p.display_key end,
    case when b.since is null or p.photo_at < b.since then p.photo_version end
  from profiles p
  cross join lateral (
    -- mutation: profiles across a block
    select least(
      (select coalesce(m.blocked_since, m.blocked_at) from memberships m where m.owner = viewer collate "C" and m.peer = person collate "C" and m.blocked_seq is not null),
      (select coalesce(m.blocked_since, m.blocked_at) from memberships m where m.owner = person collate "C" and m.peer = viewer collate "C" and m.blocked_seq is not null)
    ) as since
  ) b
  where p.user_id = person_id
$$;

-- As find_names, but also by display name. At most `most` names of users; those whose name or
-- display name begins with `part` first.
create function find_people(part text, viewer text, most bigint)
returns setof text
language sql stable
-- as for find_names; without the rest, a plan made on small tables would read them as they grow
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
  with by_display_name as (
    (
      select user_id, 0 as rank
      from profiles
      where display_key >= part and display_key < part || chr(1114111)
      order by display_key
      limit most
    )
    union all
    (
      select user_id, 1
      from profiles
      where
        length(part) > 1
        and display_key is not null
        and name_pairs(display_key) @> name_pairs(part)
        and position(part in display_key) > 1
      limit most
    )
  ), found as (
    select u.username, u.search_key, u.id, case when starts_with(u.search_key, part) then 0 else 1 end as rank
    from find_names(part, viewer, most) as n (username)
    join users u on u.username = n.username
    union all
    select u.username, u.search_key, u.id, d.rank
    from by_display_name d
    join users u on u.id = d.user_id
    cross join lateral shown_profile(viewer, u.id, u.username) s
    where u.username <> viewer and u.disabled_at is null and u.deleted_at is null and s.display_key is not null
  )
  select username
  from found
  group by username, search_key, id
  order by min(rank), search_key, id
  limit most
$$;
