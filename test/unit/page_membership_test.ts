/** How the page orders its list: by stored settings, unanswered changes, and incomplete answers. */

import { expect, test } from "bun:test";

import { Membership } from "../../static/js/store/membership.js";
import { open, Server, settled } from "../support/page_model.ts";

const AT = { lastSeq: 7, myRead: 5 };

test("keeps the newer of two versions, in whatever order they arrive", () => {
  const membership = new Membership();
  membership.update({ settings_revision: 3, muted: true, pinned_at: "2026-01-01T00:00:00.000000Z" });
  membership.update({ settings_revision: 2, muted: false, pinned_at: null });
  expect(membership.isMuted).toBe(true);
  expect(membership.settings.pinnedAt).toBe("2026-01-01T00:00:00.000000Z");
  membership.distrust();
  membership.update({ settings_revision: 1, muted: false });
  expect([membership.isMuted, membership.settings.pinnedAt]).toEqual([false, undefined]);
});

test("shows changes before their answers, the later over the earlier, and none that was refused", () => {
  const membership = new Membership();
  membership.update({ settings_revision: 1, archived_seq: 7 });
  const settle = membership.change({ pinned: true, muted: true, mute_seconds: 60 }, AT);
  expect(membership.settings.archivedSeq).toBeUndefined(); // pinning ends the archive
  expect(membership.settings.mutedUntil).toBeWithin(Date.now() + 59_000, Date.now() + 61_000);
  const settleLater = membership.change({ archived: true, marked_unread: true, muted: false }, AT);
  expect(membership.settings).toMatchObject({ archivedSeq: 7, markedUnreadSeq: 5, mutedUntil: 0 });
  settle();
  settleLater();
  expect(membership.settings).toMatchObject({ archivedSeq: 7, pinnedAt: undefined, mutedUntil: 0 });
});

test("a timed mute counts until its end, and is stored as it is", () => {
  const membership = new Membership();
  membership.update({ settings_revision: 1, muted: true, muted_until: new Date(Date.now() + 60_000).toISOString() });
  expect(membership.isMuted).toBe(true);
  const restored = new Membership();
  restored.update(membership.toRow());
  expect(restored.settings).toEqual(membership.settings);
  restored.update({ settings_revision: 2, muted: true, muted_until: new Date(Date.now() - 1).toISOString() });
  expect(restored.isMuted).toBe(false);
});

test("announces the end of a timed mute by itself, and of the next one", async () => {
  const { server, chat, wire } = await open();
  server.says("bob", "hello");
  void chat.sync.start();
  wire.greet();
  await settled();
  const mute = (settings_revision: number, ms: number) =>
    wire.emit("frame", {
      type: "membership",
      peer: "bob",
      settings_revision,
      muted: true,
      muted_until: new Date(Date.now() + ms).toISOString(),
    });
  for (const [revision, ms] of [
    [1, 150],
    [2, 100],
  ] as const) {
    mute(revision, ms);
    await settled();
    expect(chat.conversations.unread).toBe(0);
    const { promise: announced, resolve } = Promise.withResolvers<number>();
    chat.conversations.on("list", () => resolve(chat.conversations.unread));
    expect(await announced).toBe(1); // nothing else happens here
  }
});

/** A server whose list no longer has bob. */
class Arranged extends Server {
  isArchived = false;
  isGone = false;
  override list = async ({ archived }: { archived: 0 | 1 }) => ({
    rows: !this.isGone && Boolean(archived) === this.isArchived ? await this.conversations() : [],
    archived: 0, // counted before another device archived it
  });
}

test("does not drop a conversation that another device archived while the list was read", async () => {
  const server = new Arranged();
  server.says("bob", "hello");
  const { chat, wire } = await open({ server });
  void chat.sync.start();
  wire.greet();
  await settled();
  expect(chat.conversations.entries().map(({ peer }) => peer)).toEqual(["bob"]);
  server.isArchived = true;
  wire.emit("frame", { type: "sync" });
  await settled();
  expect(chat.conversations.all().map(({ peer }) => peer)).toEqual(["bob"]);
  server.isGone = true; // both accounts were deleted
  wire.emit("frame", { type: "sync" });
  await settled();
  expect(chat.conversations.all()).toEqual([]);
});
