-- Who runs the chat, and accounts that are shut. Whether there ever was an admin stands in settings: had_admin.

alter table users
  add column is_admin boolean not null default false,
  -- since when nobody can sign in with it; null: it is open
  add column disabled_at timestamptz;
