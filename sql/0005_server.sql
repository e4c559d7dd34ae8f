-- What all pods share besides users and messages.

create table settings (
  name text primary key,
  value text not null
);

-- The pages' files of the newest versions, so that a page loaded before an upgrade, or from a pod
-- of another version, gets its own.
create table page_versions (
  version text collate "C" primary key, -- the hash in /static/{version}/
  files bytea not null, -- JSON of path and base64, zstd: about 110 KB
  served_at timestamptz not null default now() -- when a pod last started with it
);
alter table page_versions alter column files set storage external; -- it is compressed already
