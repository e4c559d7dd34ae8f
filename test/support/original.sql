-- A dump in the shape of the original demo (FastAPI, SQLAlchemy, PostgreSQL): plain-text passwords, times without a zone, no
-- numbers. After two years in use: names that differ by case only, nulls, deleted accounts, columns that the host added.

create table users (
  id serial primary key,
  username varchar(50) unique,
  password varchar,
  is_online boolean default false,
  created_at timestamp default now()
);

create table messages (
  id serial primary key,
  sender varchar,
  receiver varchar,
  content text,
  timestamp timestamp,
  read boolean default false
);
create index ix_messages_sender on messages (sender);

alter table users add column "Real Name" text;
alter table users add column last_seen_at varchar;
alter table messages add column starred boolean not null default false;
alter table messages add column seq integer;

insert into users (id, username, password, is_online, created_at, "Real Name", last_seen_at) values
  (1, 'alice', 'alice-password', true, '2024-01-31 23:30:00.25', 'Alice Liddell', 'on Monday'),
  (2, 'Bob', 'Bob-password', false, '2024-02-01 08:00:00', null, null),
  (3, 'bob', 'bob-password', false, null, 'The other Bob', null),
  (4, 'ΟΔΟΣ', 'ΟΔΟΣ-password', null, '2024-02-02 08:00:00', null, null),
  (5, 'οδος', 'οδος-password', false, '2024-02-03 08:00:00', null, null),
  (6, 'John Smith', 'pw', false, '2024-02-04 08:00:00', null, null),
  (7, 'nopass', null, false, '2024-02-05 08:00:00', null, null),
  (9, null, 'nameless-password', false, '2024-02-06 08:00:00', null, null),
  (12, 'user.9', 'user.9-password', false, '2024-02-07 08:00:00', null, null);
select setval('users_id_seq', 12);

insert into messages (id, sender, receiver, content, timestamp, read, starred, seq) values
  -- out of order by id; two at one time, told apart by id
  (5, 'alice', 'Bob', 'third', '2024-03-01 12:00:00', true, false, 105),
  (2, 'Bob', 'alice', 'first', '2024-03-01 10:00:00.5', false, true, 102),
  (4, 'alice', 'Bob', 'second', '2024-03-01 12:00:00', false, false, null),
  (6, 'Bob', 'alice', 'fourth', '2024-03-01 13:00:00', true, false, null),
  (7, 'Bob', 'alice', 'fifth', '2024-03-01 14:00:00', false, false, null),
  (8, 'alice', 'Bob', 'sixth', '2024-03-01 15:00:00', null, false, null),
  -- the two Bobs are two people
  (10, 'bob', 'alice', 'from the other Bob', '2024-03-02 10:00:00', false, false, null),
  (11, 'Bob', 'bob', 'hello namesake', '2024-03-02 11:00:00', false, false, null),
  -- accounts that were deleted; one had the name that the other Bob would get
  (20, 'ghost', 'alice', 'boo', '2024-03-03 10:00:00', false, false, null),
  (21, 'alice', 'bob.2', 'to somebody deleted', '2024-03-03 11:00:00', false, false, null),
  -- a note to oneself, nulls, nobody, an empty text
  (30, 'John Smith', 'John Smith', 'buy milk', '2024-03-04 10:00:00', false, false, null),
  (31, null, 'alice', 'from nobody', '2024-03-04 11:00:00', false, false, null),
  (32, 'John Smith', 'alice', null, '2024-03-04 12:00:00', false, false, null),
  (33, 'John Smith', 'alice', 'without a time', null, false, false, null),
  (34, 'ΟΔΟΣ', 'οδος', 'καλημέρα', '2024-03-04 13:00:00', false, false, null);

-- a long conversation, of which the last hundred are unread
insert into messages (id, sender, receiver, content, timestamp, read)
select
  100 + n,
  case when n % 2 = 0 then 'alice' else 'John Smith' end,
  case when n % 2 = 0 then 'John Smith' else 'alice' end,
  'message ' || n,
  timestamp '2024-04-01' + n * interval '1 minute',
  n <= 4900
from generate_series(1, 5000) as n;
select setval('messages_id_seq', 5100);
