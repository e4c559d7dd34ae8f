-- Old code runs on. What bounds how much one user stores, and how much of a list is read at a time.

-- Text that each user sent on a day (UTC), for LIMIT_BYTES. Pods count in memory and add here about once a second; rows go after two days.
create table text_sent (
  day date not null,
  sender text collate "C" not null,
  bytes bigint not null,
  primary key (day, sender) -- the day first: old ones are found by it
) with (fillfactor = 50); -- updated again and again: room for it on the same page

-- Names behind a place of the list of all, in its order; those that are not shown included, so that a page is never short.
create function names_after(after_key text, after_id bigint, most bigint)
returns table (username text, search_key text, id bigint, is_shown boolean)
language sql stable
-- A plan made while the table was small must not outlive its growth: else each page reads and sorts all names (measured: 0.2 to 0.4 s at 300,000).
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
as $$
  select u.username, u.search_key, u.id, u.disabled_at is null and u.deleted_at is null
  from users u
  where (u.search_key, u.id) > (after_key, after_id)
  order by u.search_key, u.id
  limit most
$$;
