/** Databases filled with users, conversations and messages by SQL: millions of messages in seconds. */

import { type Client, connect } from "../../src/db/client.ts";
import { markRead } from "../../src/db/receipts.ts";
import { nameOf, type Pair } from "./users.ts";

export class TestDatabase {
  readonly name: string;
  readonly url: string;
  readonly sql: Client;

  constructor(name: string, url: string) {
    this.name = name;
    this.url = url;
    this.sql = connect(url, { name: "bench" });
  }

  /** Creates accounts and sessions of the first `count` users. */
  async addUsers(count: number): Promise<void> {
    await this.sql`
      with made as (
        insert into users (username, name_key, search_key, password, has_skeletons)
        select n.name, n.name, n.name, '-', true -- no user signs in: hashing would take minutes
        from (select 'p' || lpad(i::text, 5, '0') as name from generate_series(0, ${count}::int - 1) i) n
        returning id, username
      ), seen as (
        insert into name_skeletons (user_id, skeleton, is_shown)
        select m.id, translate(s.form, '01', 'Ol'), s.form = m.username
        from made m
        cross join lateral (values (m.username), (upper(m.username))) s (form)
      )
      insert into sessions (user_id, token, expires_at)
      select id, encode(sha256(convert_to('token-' || username, 'UTF8')), 'hex'), now() + interval '7 days' -- as a login creates them
      from made
    `;
    await this.settle();
  }

  /** Creates conversations of `each` messages, all read but the last `unread`, which the second user wrote. */
  async addConversations(pairs: readonly Pair[], each: number, unread = 0): Promise<void> {
    await this.sql`
      with pair as (
        select 'p' || lpad(one::text, 5, '0') as low, 'p' || lpad(other::text, 5, '0') as high
        from unnest(${pairs.map(([one]) => one)}::bigint[], ${pairs.map(([, other]) => other)}::bigint[]) as t (one, other)
      ), conversation as (
        insert into conversations (
          low, high, last_seq, last_at, low_unread, low_read_seq, high_read_seq, low_delivered_seq, high_delivered_seq
        )
        select low, high, ${each}::bigint, now(), ${unread}::bigint, ${each - unread}::bigint, ${each}::bigint, ${each}::bigint, ${each}::bigint
        from pair
        order by low, high
        returning id, low, high
      )
      insert into messages (conversation_id, seq, sender, receiver, content, timestamp, read, ref)
      select
        c.id,
        n,
        case when mine then c.low else c.high end,
        case when mine then c.high else c.low end,
        'Message ' || n || ' of ' || c.low || ' and ' || c.high || ', of a typical length',
        now() - (${each}::bigint - n) * interval '1 second',
        n <= ${each - unread}::bigint,
        lpad(to_hex(n), 8, '0') || left(md5(c.id || '-' || n), 24) -- in order, as the page creates them
      from conversation c, generate_series(1, ${each}::bigint) n, lateral (select n <= ${each - unread}::bigint and n % 2 = 0) s (mine)
    `;
  }

  /** Does now what autovacuum and a checkpoint would otherwise do during a measurement. */
  async settle(): Promise<void> {
    await this.sql`vacuum (analyze)`;
    await this.sql`checkpoint`;
  }

  /** The last numbers of conversations; 0 for one that does not exist. */
  async lastSeqs(pairs: readonly Pair[]): Promise<number[]> {
    const rows = await this.sql<{ seq: number }[]>`
      select coalesce(c.last_seq, 0) as seq
      from unnest(${pairs.map(([one]) => one)}::bigint[], ${pairs.map(([, other]) => other)}::bigint[]) with ordinality as t (one, other, ord)
      left join conversations c on c.low = 'p' || lpad(one::text, 5, '0') and c.high = 'p' || lpad(other::text, 5, '0')
      order by t.ord
    `;
    return rows.map((row) => row.seq);
  }

  async markAllRead(pairs: readonly Pair[]): Promise<void> {
    let marks = pairs.flatMap(([one, other]) => [
      { reader: nameOf(one), peerKey: nameOf(other), seq: Number.MAX_SAFE_INTEGER },
      { reader: nameOf(other), peerKey: nameOf(one), seq: Number.MAX_SAFE_INTEGER },
    ]);
    while (marks.length > 0) {
      const moved = await markRead(this.sql, marks);
      const unfinished = new Set(moved.filter(({ hasMore }) => hasMore).map(({ reader }) => reader));
      marks = marks.filter(({ reader }) => unfinished.has(reader));
    }
  }

  async countMessages(): Promise<number> {
    const [row] = await this.sql<{ count: number }[]>`select count(*) from messages`;
    return row?.count ?? 0;
  }

  /** Bytes of write-ahead log written so far. */
  async walBytes(): Promise<number> {
    const [row] = await this.sql<{ bytes: number }[]>`select (pg_current_wal_insert_lsn() - '0/0')::bigint as bytes`;
    return row?.bytes ?? 0;
  }
}
