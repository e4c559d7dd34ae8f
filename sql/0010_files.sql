-- Old code runs on
-- Files, from the start of their upload; and the file of a message.

create table files (
  -- 128 random bits
  id text collate "C" primary key,
  owner text collate "C" not null,
  name text not null,
  -- As announced; decides only between audio and video, in containers of both.
  announced_type text not null,
  -- SHA-256 of the uploaded bytes, hex, if the client announced it.
  sha256 text,
  -- Keep every byte, also the metadata of images.
  is_original boolean not null,
  -- As announced; once complete, as stored.
  size bigint not null,
  -- Which chunks have arrived: a bit for each.
  chunks bytea not null,
  -- Where the bytes are: in file_chunks (`postgres`) or in `s3`.
  store text not null,
  -- The name of the bytes there. An image gets a new one when its metadata is removed; a copy
  -- shares it.
  blob text collate "C" not null,
  created_at timestamptz not null default clock_timestamp(),
  -- From then on the file never changes; null during the upload.
  completed_at timestamptz,
  type text,
  width int,
  height int,
  -- Of an image that has a preview: the colors of its parts (files/picture.ts).
  placeholder text,
  -- The ref of the message that sends the file, set just before that is stored: the file is sent
  -- once there is a message of the owner with this ref and file.
  claim_ref text collate "C",
  claimed_at timestamptz,
  -- A sweep a day after the start of the upload has found the message; otherwise it ends the file.
  is_settled boolean not null default false,
  -- From then on nobody can read the file; its bytes are deleted next, then the row.
  deleted_at timestamptz
) with (fillfactor = 60); -- updated by every chunk

-- FILES_QUOTA, and the files of a deleted account
create index files_owner on files (owner) include (size) where deleted_at is null;
-- how many files a user has not sent
create index files_unsent on files (owner) where claim_ref is null and deleted_at is null;
-- the sweeps: of deleted files, and of files never sent
create index files_deleted on files (deleted_at) where deleted_at is not null;
create index files_unsettled on files (created_at) where not is_settled and deleted_at is null;
-- copies that share a blob, and blobs without a file
create index files_blob on files (blob);

-- What `/messages` shows of the file. A copy, so that reading messages needs no join; a complete
-- file never changes.
alter table messages add column file jsonb;

-- A file ends with its message, whichever statement deletes the message, also one of older code.
create function delete_file_of_message() returns trigger
language plpgsql
as $$
begin
  update files f set deleted_at = clock_timestamp() where f.id = old.file ->> 'id' and f.deleted_at is null;
  if tg_op = 'DELETE' then
    return old;
  end if;
  new.file := null;
  return new;
end
$$;

create trigger file_of_changed_message before update of deleted_at on messages
for each row when (old.file is not null and new.deleted_at is not null) execute function delete_file_of_message();

create trigger file_of_deleted_message before delete on messages
for each row when (old.file is not null) execute function delete_file_of_message();

-- Whether a message sends the file.
create function is_sent(file files) returns boolean
language sql volatile
return exists (
  select from messages m where m.sender = file.owner and m.ref = file.claim_ref and m.file ->> 'id' = file.id
);

-- The same, or a pod may be about to store that message: a statement takes 5 s at most.
create function may_be_sent(file files) returns boolean
language sql volatile
return coalesce(file.claimed_at > clock_timestamp() - interval '1 minute', false) or is_sent(file);

-- Begins an upload or, with `source`, copies a file that the caller has found to be readable. Locks
-- the owner, so that concurrent calls on any pods cannot exceed the quota together; the deletion of
-- an account waits for that lock, and so misses no file.
--
-- Returns `created`, also when repeated; `over_quota`; `too_many` with `most` unsent files;
-- `no_session` for a deleted account; `not_found` without the source.
--
-- Volatile, so that the sum is read after the lock.
create function create_file(
  owner_id bigint, new_id text, new_blob text, new_store text, new_name text, new_type text, new_sha256 text,
  keeps_every_byte boolean, new_size bigint, new_chunks bytea, quota bigint, most bigint, source text
)
returns text
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off -- as for mark_read
as $$
declare
  owner_name text;
  original files;
begin
  select u.username into owner_name from users u where u.id = owner_id and u.deleted_at is null for no key update;
  if not found then
    return 'no_session';
  end if;
  if exists (select from files f where f.id = new_id) then
    return 'created';
  end if;
  if source is not null then
    -- Shared with other copies; the deletion of the source waits, and then keeps the shared bytes.
    select f.* into original from files f where f.id = source and f.completed_at is not null and f.deleted_at is null for share;
    if not found then
      return 'not_found';
    end if;
    new_size := original.size;
  end if;
  if (select coalesce(sum(f.size), 0) + new_size > quota from files f where f.owner = owner_name collate "C" and f.deleted_at is null) then
    return 'over_quota';
  end if;
  if (
    select count(*) >= most
    from files f
    where f.owner = owner_name collate "C" and f.deleted_at is null and f.claim_ref is null
  ) then
    return 'too_many';
  end if;
  if source is null then
    insert into files (id, owner, name, announced_type, sha256, is_original, size, chunks, store, blob)
    values (new_id, owner_name, new_name, new_type, new_sha256, keeps_every_byte, new_size, new_chunks, new_store, new_blob);
  else
    insert into files (
      id, owner, name, announced_type, sha256, is_original, size, chunks, store, blob,
      completed_at, type, width, height, placeholder
    )
    values (
      new_id, owner_name, original.name, original.announced_type, original.sha256, original.is_original, original.size,
      original.chunks, original.store, original.blob,
      clock_timestamp(), original.type, original.width, original.height, original.placeholder
    );
  end if;
  return 'created';
end
$$;

-- Claims files for messages that are about to be stored. Returns the rows that may be stored, with
-- the text, the file's name if it is empty, and the file as `/messages` shows it; also those that are
-- stored already, for which a resend gets its ack. `outcome`: `claimed`, `known`, or `ref_reused` if
-- the stored message has another file.
create function claim_files(senders text[], refs text[], file_ids text[], texts text[])
returns table (place bigint, outcome text, content text, file jsonb)
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  send record;
  stored messages;
  claimed files;
begin
  for send in
    select t.*
    from unnest(senders, refs, file_ids, texts) with ordinality as t (sender, ref, file_id, text, place)
    order by t.file_id, t.place -- in key order, so pods cannot deadlock
  loop
    select m.* into stored from messages m where m.sender = send.sender collate "C" and m.ref = send.ref collate "C";
    if found then
      return query
      select
        send.place,
        case when stored.deleted_at is null and stored.file ->> 'id' is distinct from send.file_id then 'ref_reused' else 'known' end,
        case when send.text = '' then stored.content else send.text end,
        stored.file;
      continue;
    end if;
    select f.* into claimed from files f where f.id = send.file_id collate "C" for no key update;
    continue when not found or claimed.completed_at is null or claimed.deleted_at is not null;
    -- mutation: own files only
    continue when claimed.owner <> send.sender collate "C";
    continue when claimed.claim_ref <> send.ref collate "C" and may_be_sent(claimed);
    update files f set claim_ref = send.ref, claimed_at = clock_timestamp() where f.id = claimed.id;
    return query
    select
      send.place, 'claimed', case when send.text = '' then claimed.name else send.text end,
      jsonb_strip_nulls(jsonb_build_object(
        'id', claimed.id, 'name', claimed.name, 'type', claimed.type, 'size', claimed.size,
        'width', claimed.width, 'height', claimed.height, 'placeholder', claimed.placeholder
      ));
  end loop;
end
$$;
