/** Sessions that end while a socket of theirs is on its way. */

import { expect, test } from "bun:test";

import { Hub, type Socket } from "../../src/delivery/hub.ts";
import type { CloseCode } from "../../src/protocol.ts";

function socket(sessionId: number, closed: [number, CloseCode][]): Socket {
  return {
    username: "Ann",
    nameKey: "ann",
    sessionId,
    send: () => true,
    sendAll: () => true,
    close: (code) => void closed.push([sessionId, code]),
  };
}

test("hub closes the sockets of an ended session, also those still connecting", () => {
  const hub = new Hub();
  const closed: [number, CloseCode][] = [];
  for (const id of [1, 2, 1]) hub.add(socket(id, closed));
  hub.endSession(1);
  expect(closed).toEqual([
    [1, 4401],
    [1, 4401],
  ]);
  expect([hub.hasEnded(1), hub.hasEnded(2)]).toEqual([true, false]);
});
