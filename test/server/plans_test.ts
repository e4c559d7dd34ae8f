/**
 * Every query that people wait for, run as the server runs it on tables of a hundred thousand messages, and PostgreSQL's own word
 * for how it found the rows: by an index, however large the tables grow. Statements inside of functions are seen too.
 */

import { afterAll, beforeAll, expect, test } from "bun:test";

import * as changes from "../../src/db/changes.ts";
import { type Client, connect } from "../../src/db/client.ts";
import * as conversationList from "../../src/db/conversation_list.ts";
import * as conversations from "../../src/db/conversations.ts";
import type { Database } from "../../src/db/database.ts";
import * as deletedAccounts from "../../src/db/deleted_accounts.ts";
import * as drafts from "../../src/db/drafts.ts";
import * as everything from "../../src/db/export.ts";
import * as fileChunks from "../../src/db/file_chunks.ts";
import * as fileUpkeep from "../../src/db/file_upkeep.ts";
import * as files from "../../src/db/files.ts";
import { insertMessages, type NewMessage, WRITER_PARAMETERS } from "../../src/db/insert_messages.ts";
import * as memberships from "../../src/db/memberships.ts";
import * as messageSearch from "../../src/db/message_search.ts";
import * as nameSearch from "../../src/db/name_search.ts";
import { servingPods } from "../../src/db/pods.ts";
import * as profiles from "../../src/db/profiles.ts";
import * as receipts from "../../src/db/receipts.ts";
import * as choices from "../../src/db/relationships.ts";
import * as sessions from "../../src/db/sessions.ts";
import { fillSkeletons } from "../../src/db/skeletons.ts";
import * as users from "../../src/db/users.ts";
import { TestDatabase } from "../../tools/support/database.ts";
import { nameOf, type Pair } from "../../tools/support/users.ts";
import { migratedDatabase, SILENT } from "../support/harness.ts";

const PEOPLE = 10_000;
const BIG = new Set([
  "messages",
  "conversations",
  "memberships",
  "users",
  "sessions",
  "drafts",
  "name_skeletons",
  "change_refs",
  "frozen_messages",
  "profiles",
  "files",
  "file_chunks",
]);
const me = nameOf(0);
const peer = nameOf(1);

let database: TestDatabase;
let address: string;

beforeAll(async () => {
  address = await migratedDatabase();
  database = new TestDatabase("plans", address);
  await database.addUsers(PEOPLE);
  await database.addConversations([[0, 1]], 50_000, 100);
  await database.addConversations(
    Array.from({ length: 2_000 }, (_, i): Pair => [0, i + 2]),
    10,
    1,
  );
  // others', so many that one person's are a small part of all
  await database.addConversations(
    Array.from({ length: 25_000 }, (_, i): Pair => [2_100 + (i % 900), 3_000 + Math.floor(i / 900)]),
    2,
  );
  await database.sql`
    insert into drafts (owner, peer, text, at)
    select 'p' || lpad(i::text, 5, '0'), 'p' || lpad(j::text, 5, '0'), 'How are', now()
    from generate_series(0, 199) i, generate_series(0, 99) j
  `;
  await database.sql`
    with changed as (
      update messages m set revision = seq from conversations c where m.conversation_id = c.id and m.seq % 5 = 0 returning m.*
    )
    insert into change_refs (sender, ref, conversation_id, seq, change_hash, at)
    select sender, 'ref-' || id, conversation_id, seq, '', now() from changed
  `;
  await database.sql`
    insert into frozen_messages (conversation_id, owner, seq, content)
    select conversation_id, receiver, seq, content from messages where seq % 7 = 0
  `;
  await database.sql`
    insert into profiles (user_id, display_name, display_key, named_at, photo, photo_version, photo_at, changed_at)
    select id, 'Display ' || username, 'display ' || search_key, now(), '', 'version', now(), now() - id * interval '1 second'
    from users
    where id % 10 <> 0
  `;
  await database.sql`
    update memberships set muted_until = now() where conversation_id % 3 = 0
  `;
  await database.sql`
    update conversations
    set low_pinned_at = case when id % 100 = 0 then now() end, low_archived_seq = case when id % 2 = 0 then 10 end
  `;
  // two files of each user, most of them sent, a few unsent or deleted; some by the first user
  await database.sql`
    insert into files (
      id, owner, name, announced_type, is_original, size, chunks, store, blob, created_at, completed_at, type,
      claim_ref, claimed_at, is_settled, deleted_at
    )
    select
      'file-' || m.id, m.sender, 'a.png', '', false, 9, '', 'postgres', 'blob-' || m.id, now() - interval '3 days', now(), 'image/png',
      m.ref, m.timestamp, m.id % 100 > 0, case when m.id % 300 = 1 then now() end
    from messages m
    where m.id % 4 = 0
  `;
  await database.sql`
    update messages m set file = jsonb_build_object('id', 'file-' || m.id, 'name', 'a.png', 'type', 'image/png', 'size', 9) where m.id % 4 = 0
  `;
  await database.sql`
    insert into file_chunks (blob, n, data) select blob, n, '' from files cross join generate_series(-1, 1) n
  `;
  await database.settle();
}, 60_000);

afterAll(() => database?.sql.end({ timeout: 1 }));

interface Plan {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly "Join Type"?: string;
  readonly Plans?: Plan[];
}

/** What PostgreSQL did for a query: each statement with its plan. @param parameters of the connection */
async function plansOf(
  query: (db: Database, sql: Client) => PromiseLike<unknown>,
  parameters: Record<string, string>,
): Promise<{ text: string; plan: Plan }[]> {
  const notices: string[] = [];
  const sql = connect(address, {
    name: "test-plans",
    onnotice: (notice?: { message?: string }) => void notices.push(notice?.message ?? ""),
    parameters: { ...parameters, session_preload_libraries: "auto_explain" },
  });
  try {
    await sql`
      select
        set_config('auto_explain.log_min_duration', '0', false),
        set_config('auto_explain.log_nested_statements', 'on', false),
        set_config('auto_explain.log_format', 'json', false),
        set_config('client_min_messages', 'log', false)
    `;
    notices.length = 0;
    const db = { run: (query: (sql: Client) => PromiseLike<unknown>) => query(sql) } as unknown as Database;
    await query(db, sql);
  } finally {
    await sql.end({ timeout: 1 });
  }
  return notices
    .filter((notice) => notice.includes("plan:"))
    .map((notice) => {
      const { "Query Text": text, Plan: plan } = JSON.parse(notice.slice(notice.indexOf("{"))) as {
        "Query Text": string;
        Plan: Plan;
      };
      return { text, plan };
    });
}

/** Every scan of a table that grows and is not by an index. */
function walks(plan: Plan): string[] {
  const here = plan["Node Type"] === "Seq Scan" && BIG.has(plan["Relation Name"] ?? "") ? [plan["Relation Name"]!] : [];
  return [...here, ...(plan.Plans ?? []).flatMap(walks)];
}

const batch = (count: number, tag: string): NewMessage[] =>
  Array.from({ length: count }, (_, i) => {
    const [one, other] = [2_100 + (i % 50), 3_000] as const;
    return {
      sender: nameOf(one),
      toKey: nameOf(other),
      ref: `plans-${tag}-${i}`,
      sendId: i,
      content: "How are you?",
    };
  });
const tokens = (count: number) =>
  Array.from({ length: count }, (_, i) => new Bun.CryptoHasher("sha256").update(`token-${nameOf(i)}`).digest("hex"));
const names = (count: number) => Array.from({ length: count }, (_, i) => nameOf(i));

const SEARCH = { me, peer: undefined, pattern: "typical", before: undefined, limit: 20 };
const laterPosition = () => ({
  timestamp: new Date(Date.now() - 3_600_000).toISOString(),
  conversationId: 1_000,
  seq: 5,
});

const QUERIES: Record<string, (db: Database, sql: Client) => PromiseLike<unknown>> = {
  "conversations.messagePage, the newest": (_, sql) => conversations.messagePage(sql, me, peer, { limit: 50 }),
  "conversations.messagePage, before": (_, sql) =>
    conversations.messagePage(sql, me, peer, { limit: 50, before: 20_000 }),
  "conversations.messagePage, after": (_, sql) =>
    conversations.messagePage(sql, me, peer, { limit: 1_000, after: 20_000 }),
  "conversations.messagePage, changed": (_, sql) =>
    conversations.messagePage(sql, me, peer, { limit: 50, changedAfter: 3 }),
  "conversations.messagePage, changed, with a blocked peer": (_, sql) =>
    conversations.messagePage(sql, me, peer, { limit: 50, changedAfter: 3, includeBlocked: true }),
  "conversations.lastSeqBefore": (_, sql) =>
    conversations.lastSeqBefore(sql, me, peer, new Date(Date.now() - 5_000).toISOString()),
  "changes.changeMessages": (_, sql) =>
    changes.changeMessages(
      sql,
      names(16).map((name, i) => ({
        actor: me,
        peerKey: name,
        type: (["edit", "delete", "react"] as const)[i % 3]!,
        seq: 1 + i,
        text: "👍",
        ref: `plans-${name}`,
      })),
      { editWindow: 86_400, deleteWindow: Number.POSITIVE_INFINITY },
    ),
  "changes.sweep": (db) => changes.sweep(db),
  "insertMessages, replies": (_, sql) =>
    insertMessages(
      sql,
      batch(100, "replies").map((message, i) => Object.assign(message, { replyTo: i })),
    ),
  "insertMessages, files": (_, sql) =>
    insertMessages(
      sql,
      batch(100, "files").map((message, i) => Object.assign(message, { fileId: `file-${i * 4}` })),
    ),
  "files.create": (db) =>
    files.create(
      db,
      {
        ownerId: 1,
        id: "new",
        blob: "new",
        store: "postgres",
        name: "a",
        type: "",
        sha256: null,
        isOriginal: false,
        size: 9,
        chunkCount: 1,
      },
      1e9,
    ),
  "files.copy": (db) => files.copy(db, "file-4", { ownerId: 1, id: "copy", quota: 1e9 }),
  "files.upload": (db) => files.upload(db, me, "file-4"),
  "files.addChunk": (db) => files.addChunk(db, "file-4", 0),
  "files.complete": (db) => files.complete(db, "file-4", { type: "image/png", size: 9, blob: "blob-4" }),
  "files.readableFiles": (_, sql) =>
    files.readableFiles(
      sql,
      names(100).map((me, i) => ({ me, id: `file-${i * 4}` })),
    ),
  "files.removeUnsent": (db) => files.removeUnsent(db, me, "file-8"),
  "files.bytesOf": (db) => files.bytesOf(db, nameOf(2_100)),
  "fileUpkeep.sweepUnsent": (db) => fileUpkeep.sweepUnsent(db),
  "fileUpkeep.endUnsent": (db) => fileUpkeep.endUnsent(db, nameOf(2_100)),
  "fileUpkeep.deleted": (db) => fileUpkeep.deleted(db, "postgres", 50),
  "fileUpkeep.isShared": (db) => fileUpkeep.isShared(db, { id: "file-8", blob: "blob-8" }),
  "fileUpkeep.completeFiles": (db) => fileUpkeep.completeFiles(db, "file-5", 100),
  "fileUpkeep.moveBlob": (db) => fileUpkeep.moveBlob(db, "blob-8", { from: "postgres", to: "s3" }),
  "fileUpkeep.forget": (db) => fileUpkeep.forget(db, "file-8"),
  "fileUpkeep.orphans": (db) =>
    fileUpkeep.orphans(
      db,
      "postgres",
      Array.from({ length: 500 }, (_, i) => `blob-${i}`),
    ),
  "fileChunks.put": (db) => fileChunks.put(db, "blob-8", 0, new Uint8Array(9)),
  "fileChunks.get": (db) => fileChunks.get(db, "blob-8", 0),
  "fileChunks.sizes": (db) => fileChunks.sizes(db, "blob-8"),
  "fileChunks.removeSome": (db) => fileChunks.removeSome(db, "blob-8"),
  "fileChunks.blobs": (db) => fileChunks.blobs(db, "", 500),
  "relationships.setBlock, a block ends": (db) => choices.setBlock(db, me, peer, false),
  "conversations.unreadCounts": (_, sql) => conversations.unreadCounts(sql, me, { muted: false, archived: false }),
  "conversationList.listConversations, one": (_, sql) =>
    conversationList.listConversations(sql, [{ me, limit: 50, before: undefined, peer: undefined }]),
  "conversationList.listConversations, of a peer": (_, sql) =>
    conversationList.listConversations(sql, [{ me, limit: 1, before: undefined, peer }]),
  "conversationList.listConversations, many": (_, sql) =>
    conversationList.listConversations(
      sql,
      names(16).map((me) => ({ me, limit: 200, before: undefined, peer: undefined })),
    ),
  ...Object.fromEntries(
    [false, true].map((archived) => [
      `conversationList.listConversations, archived: ${archived}`,
      (_: Database, sql: Client) =>
        conversationList.listConversations(
          sql,
          names(16).map((me) => ({
            me,
            limit: 50,
            before: undefined,
            peer: undefined,
            archived,
            includeBlocked: true,
          })),
        ),
    ]),
  ),
  "memberships.changeMembership": (db) =>
    memberships.changeMembership(db, [me, peer], { muted: true, pinned: true, archived: true, markedUnread: true }),
  "memberships.archivedCounts": (_, sql) =>
    memberships.archivedCounts(
      sql,
      names(16).map((me) => ({ me, includeBlocked: true })),
    ),
  "memberships.arrangedConversations": (db) => memberships.arrangedConversations(db, me),
  "relationships.listRelated, mutes": (db) => choices.listRelated(db, "mute", me),
  "conversationList.lastMessageTexts": async (_, sql) => {
    const [rows] = await conversationList.listConversations(sql, [
      { me, limit: 200, before: undefined, peer: undefined },
    ]);
    await conversationList.lastMessageTexts(sql, me, rows ?? []);
  },
  "receipts.markRead, one": (_, sql) => receipts.markRead(sql, [{ reader: me, peerKey: nameOf(2), seq: 10 }]),
  "receipts.markRead, many": (_, sql) =>
    receipts.markRead(
      sql,
      names(200).map((name) => ({ reader: me, peerKey: name, seq: 10 })),
    ),
  "receipts.markDelivered": (_, sql) =>
    receipts.markDelivered(
      sql,
      names(200).map((name) => ({ receiver: me, sender: name, seq: 10 })),
    ),
  "choices.choose": (db) => choices.setBlock(db, me, nameOf(5), true),
  "choices.choose, no longer": (db) => choices.setBlock(db, me, nameOf(5), false),
  "choices.chosen": (db) => choices.listRelated(db, "block", me),
  "export.count": (db) => everything.count(db, me),
  "export.conversations": (db) => everything.conversations(db, me, 0, 250),
  "export.messages": async (db) => {
    const found = await everything.conversations(db, me, 0, 250);
    await everything.messages(
      db,
      found.map((conversation) => ({ conversation, after: 0, to: 1 })),
    );
  },
  "choices.blockedEitherWay": (_, sql) => choices.blockedEitherWay(sql, names(200)),
  "choices.reachable": (_, sql) =>
    choices.reachableKeys(
      sql,
      names(200).map((peerKey) => ({ name: me, peerKey })),
    ),
  "choices.show": (db) => choices.updatePrivacy(db, me, { hidesRead: false, hidesLastSeen: undefined }),
  "drafts.save": (_, sql) =>
    drafts.save(
      sql,
      names(100).map((peerKey, i) => ({ owner: me, peerKey, text: i % 10 ? "How are" : "" })),
    ),
  "drafts.list": (db) => drafts.list(db, me),
  "drafts.texts": (db) =>
    drafts.texts(
      db,
      me,
      names(100).map((peer) => ({ peer, text: null, bytes: 0, at: "" })),
    ),
  "users.find": (db) => users.find(db, peer),
  "conversations.usersWithRecentChanges": (db) => conversations.usersWithRecentChanges(db, names(5_000), 60_000),
  "users.onlineKeys": (db) => users.onlineKeys(db),
  "users.create": (db) => {
    const name = `new-${crypto.randomUUID().slice(0, 8)}`;
    return users.create(db, { username: name, nameKey: name, searchKey: name, password: "-" });
  },
  "users.findLookalike": (db) => users.findLookalike(db, "p00Ol2"),
  "skeletons.fillSkeletons": async (db, sql) => {
    await sql`update users set has_skeletons = false where username = ${peer}`;
    await fillSkeletons(db, SILENT);
  },
  "users.findMany": (db) => users.findMany(db, names(50)),
  "pods.servingPods": (db) => servingPods(db),
  "nameSearch.namePage": (db) => nameSearch.namePage(db, { prefix: "p0012", except: me, limit: 20 }),
  "nameSearch.findNames": (db) => nameSearch.findNames(db, { part: "0123", me, limit: 20 }),
  "nameSearch.findNames, a single character": (db) => nameSearch.findNames(db, { part: "p", me, limit: 20 }),
  "nameSearch.findPeople": (db) => nameSearch.findPeople(db, { part: "y p0123", me, limit: 20 }),
  "nameSearch.findPeople, a single character": (db) => nameSearch.findPeople(db, { part: "d", me, limit: 20 }),
  "nameSearch.findPeers": (db) => nameSearch.findPeers(db, { part: "0123", me, limit: 20 }),
  "messageSearch.searchMessages": (db) => messageSearch.searchMessages(db, { ...SEARCH, pattern: "not there" }),
  "messageSearch.searchMessages, a later page": (db) =>
    messageSearch.searchMessages(db, { ...SEARCH, before: laterPosition() }),
  "messageSearch.searchMessages, of a peer": (db) =>
    messageSearch.searchMessages(db, { ...SEARCH, peer, before: laterPosition() }),
  "messageSearch.foundMessages": async (db) => {
    const { hits } = await messageSearch.searchMessages(db, SEARCH);
    await Array.fromAsync(messageSearch.foundMessages(db, SEARCH, hits));
  },
  "profiles.setDisplayName": (db) => profiles.setDisplayName(db, 17, { name: "Ann", key: "ann" }),
  "profiles.setPhoto": (db) => profiles.setPhoto(db, 20, { bytes: new Uint8Array(9), version: "v" }),
  "profiles.shownProfiles": (db) => profiles.shownProfiles(db, me, names(200)),
  "profiles.shownPhoto": (db) => profiles.shownPhoto(db, me, peer),
  "profiles.recentProfiles": (db) => profiles.recentProfiles(db, 60_000),
  "users.accounts": (db) => users.accounts(db, { after: 5_000, limit: 100 }),
  "users.isAdmin": (db) => users.isAdmin(db, 17),
  "users.makeAdmin": (db) => users.makeAdmin(db, me),
  "users.setDisabled": (db) => users.setDisabled(db, peer, false),
  "sessions.list": (db) => sessions.list(db, 17),
  "sessions.endOwn": (db) => sessions.endOwn(db, 17, 4),
  "sessions.endOthers": (db) => sessions.endOthers(db, 16, 4),
  "deletedAccounts.softDelete": (db) => deletedAccounts.softDelete(db, { id: 9_999, username: nameOf(9_998) }),
  "deletedAccounts.accountsToPurge": (db) => deletedAccounts.accountsToPurge(db),
  "deletedAccounts.purgeStep": (db) => deletedAccounts.purgeStep(db, me),
  "deletedAccounts.purgeStep, notes to oneself": async (db, sql) => {
    const alone = nameOf(9_000);
    await sql`update users set deleted_at = now() - interval '1 hour' where username = ${alone}`;
    await sql`
      insert into conversations (low, high, last_seq, last_at) values (${alone}, ${alone}, 0, now()) on conflict do nothing
    `;
    await deletedAccounts.purgeStep(db, alone);
  },
  "deletedAccounts.markPurged": (db) => deletedAccounts.markPurged(db, { id: 9_999, username: nameOf(9_998) }),
  "sessions.start": (db) => sessions.start(db, { id: 17, password: "" }, "no token"),
  "sessions.endAll": (db) => sessions.endAll(db, 17),
  "sessions.findMany": (db) => sessions.findMany(db, tokens(200)),
  "sessions.alive": (db) =>
    sessions.alive(
      db,
      Array.from({ length: 200 }, (_, i) => i + 1),
    ),
  "sessions.renew": (db) =>
    sessions.renew(
      db,
      Array.from({ length: 500 }, (_, i) => i + 1),
    ),
};

for (const [name, query] of Object.entries(QUERIES)) {
  for (const mode of ["force_custom_plan", "force_generic_plan"] as const) {
    test(`${name} finds its rows by index (${mode})`, async () => {
      const plans = await plansOf(query, { plan_cache_mode: mode });
      expect(plans.length, "else this test reads nothing").toBeGreaterThan(0);
      for (const { text, plan } of plans) expect(walks(plan), `${text}\n${JSON.stringify(plan, null, 1)}`).toEqual([]);
    });
  }
}

for (const count of [1, 20, 200, 500]) {
  test(`insertMessages of ${count} finds its rows by index`, async () => {
    const plans = await plansOf((_, sql) => insertMessages(sql, batch(count, `${count}`)), WRITER_PARAMETERS);
    expect(plans.length, "else this test reads nothing").toBeGreaterThan(0);
    for (const { text, plan } of plans) expect(walks(plan), `${text}\n${JSON.stringify(plan, null, 1)}`).toEqual([]);
  });
}
