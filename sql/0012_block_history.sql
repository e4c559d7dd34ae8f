-- Old code runs on: a block that it makes hides the whole conversation, as before. What was said before a block stays readable to the one who
-- blocks. What the other writes later is numbered on, so the place and the time of the last message at that moment are kept beside it; they mean
-- nothing while there is no block.

alter table conversations
  add column low_frozen_seq bigint,
  add column low_frozen_at timestamptz,
  add column high_frozen_seq bigint,
  add column high_frozen_at timestamptz;

-- Blocks from before: nothing is delivered to those who block, and they cannot write, so whatever has arrived or is their own is older.
update conversations c
set low_frozen_seq = m.seq, low_frozen_at = m.timestamp
from conversations b
cross join lateral (
  select seq, timestamp
  from messages
  where conversation_id = b.id and (seq <= b.low_delivered_seq or sender = b.low)
  order by seq desc
  limit 1
) m
where b.low_blocks and c.low = b.low and c.high = b.high;

update conversations c
set high_frozen_seq = m.seq, high_frozen_at = m.timestamp
from conversations b
cross join lateral (
  select seq, timestamp
  from messages
  where conversation_id = b.id and (seq <= b.high_delivered_seq or sender = b.high)
  order by seq desc
  limit 1
) m
where b.high_blocks and c.low = b.low and c.high = b.high;
