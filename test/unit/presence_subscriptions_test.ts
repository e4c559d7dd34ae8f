/** What `PresenceSubscriptions` remembers of its users' privacy settings. */

import { expect, test } from "bun:test";

import type { Database } from "../../src/db/database.ts";
import type { Socket } from "../../src/delivery/hub.ts";
import type { BlockedPairs } from "../../src/presence/blocked_pairs.ts";
import type { PresenceRegistry } from "../../src/presence/registry.ts";
import { PresenceSubscriptions } from "../../src/presence/subscriptions.ts";

const ANN: Socket = {
  username: "ann",
  nameKey: "ann",
  sessionId: 1,
  send: () => true,
  sendAll: () => true,
  close() {},
};

/** With a registry that records whether users who left hide their last seen. */
function open() {
  const left: boolean[] = [];
  const presence = new PresenceSubscriptions({
    db: {} as Database,
    registry: {
      connect() {},
      disconnect: (_: string, { hidesLastSeen }: { hidesLastSeen: boolean }) => void left.push(hidesLastSeen),
    } as unknown as PresenceRegistry,
    blockedPairs: { connect() {}, disconnect() {} } as unknown as BlockedPairs,
  });
  return { presence, left, [Symbol.dispose]: () => presence.stop() };
}

test("a changed setting prevails over a session looked up before the change", () => {
  using app = open();
  app.presence.setHidesLastSeen("ann", true); // from another pod, during the upgrade
  app.presence.connect(ANN, false);
  app.presence.disconnect(ANN, true);
  expect(app.left).toEqual([true]);
});

test("the setting of a connected user can change again", () => {
  using app = open();
  app.presence.connect(ANN, true);
  app.presence.setHidesLastSeen("ann", false);
  app.presence.disconnect(ANN, true);
  app.presence.connect(ANN, true); // looked up before the change
  app.presence.setHidesLastSeen("ann", true);
  app.presence.disconnect(ANN, true);
  expect(app.left).toEqual([false, true]);
});
