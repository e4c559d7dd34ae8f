/** Until when the page offers to edit and delete. */

import { afterEach, describe, expect, setSystemTime, test } from "bun:test";

import { ChangeWindows } from "../../static/js/store/change_windows.js";
import { open as openPage } from "../support/page_model.ts";

const START = Date.parse("2026-03-18T12:00:00Z");

afterEach(() => void setSystemTime());

describe("change windows", () => {
  const message = (agoSeconds: number, seq = 1) => ({ seq, at: START - agoSeconds * 1_000 });

  test.each([
    [{}, true, true, "an older server"],
    [{ time: new Date(START).toISOString(), edit_window: 60, delete_window: null }, false, true, "edits for a minute"],
    [{ time: new Date(START).toISOString(), edit_window: 62, delete_window: 60 }, true, false, "deletions for less"],
    [{ time: new Date(START - 30_000).toISOString(), edit_window: 60, delete_window: 0 }, true, false, "a slow server"],
    [{ time: "?", edit_window: 60, delete_window: 90 }, false, true, "no clock"],
  ])("of %o: edit %p, delete %p (%s)", (hello, canEdit, canDelete) => {
    setSystemTime(START);
    const windows = new ChangeWindows();
    windows.update(hello);
    expect([windows.canEdit(message(61)), windows.canDelete(message(61))]).toEqual([canEdit, canDelete]);
    expect(windows.canEdit(message(61, 0))).toBe(true); // pending
  });

  test("arrive with hello", async () => {
    const { chat, wire } = await openPage();
    wire.greet();
    expect(chat.sync.changeWindows.canEdit({ seq: 1, at: 0 })).toBe(true);
    wire.emit("frame", { type: "hello", username: "ann", epoch: "1", edit_window: 0 });
    expect(chat.sync.changeWindows.canEdit({ seq: 1, at: Date.now() })).toBe(false);
  });
});
