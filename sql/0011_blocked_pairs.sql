-- Old code runs on. Finds the few conversations with a block among a user's thousands, at each first socket: presence is not shared across
-- a block. Both stay HOT for messages and marks, which never change what they mention.

create index conversations_low_blocked on conversations (low) where low_blocks or high_blocks;
create index conversations_high_blocked on conversations (high) where low_blocks or high_blocks;
