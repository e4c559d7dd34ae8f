/** The page's queue of uploads, without a browser, against two real pods. */

import { expect, setDefaultTimeout, test } from "bun:test";

import type { Pending } from "../../static/js/store/pending.js";
import { toFrame } from "../../static/js/store/pending.js";
import { Limited, Rejected } from "../../static/js/sync/api.js";
import type { State } from "../../static/js/sync/connection.js";
import type { FileRequests } from "../../static/js/sync/file_requests.js";
import { FileUploads } from "../../static/js/sync/file_uploads.js";
import { Outbox } from "../../static/js/sync/outbox.js";
import { Emitter } from "../../static/js/util/emitter.js";
import type { Frame, Person } from "../support/harness.ts";
import { MemoryDatabase, NO_DATABASE } from "../support/memory_database.ts";
import { sharedPods } from "../support/shared_app.ts";
import { until } from "../support/until.ts";
import { CHUNK, content, fetchFile } from "../support/uploads.ts";

setDefaultTimeout(30_000);

const { one, two } = await sharedPods();

type Row = { content: string; file?: { id: string; name: string; size: number } };

let people = 0;
async function pair(): Promise<[ann: Person, bob: Person]> {
  const id = `${++people}_${crypto.randomUUID().slice(0, 6)}`;
  return (await one.people(`ann${id}`, `bob${id}`)) as [Person, Person];
}

/** The requests of a page, as a user's browser makes them. */
function requestsOf(who: Person): FileRequests {
  const checked = async (answer: Response) => {
    if (answer.status === 429) throw new Limited("", Number(answer.headers.get("retry-after")));
    if (!answer.ok) throw new Rejected(((await answer.json()) as { error: { code: string } }).error.code);
    return answer;
  };
  return {
    begin: async (file) => (await checked(await who.post("/files", file))).json(),
    status: async (id) => (await checked(await who.get(`/files/${id}/status`))).json(),
    put: async (id, n, bytes) => void (await checked(await who.put(`/files/${id}/${n}`, await bytes.bytes()))),
    remove: async (id) => (await checked(await who.post(`/files/${id}/remove`))).json(),
  };
}

/** What a page keeps in the browser, and its network. */
interface Browser {
  readonly records: Map<string, Pending>;
  readonly database: typeof NO_DATABASE;
}
const newBrowser = (): Browser => ({ records: new Map(), database: new MemoryDatabase() });

/** A page of a user: its outbox, its uploads, and a socket. */
async function openPage(who: Person, browser: Browser, requests = requestsOf(who)) {
  const { records } = browser;
  const outbox = new Outbox({
    load: () => structuredClone([...records.values()]),
    put: (key, record) => void records.set(key, structuredClone(record)),
    remove: (key) => void records.delete(key),
    wipe: () => records.clear(),
  });
  const connection = new (class extends Emitter<{ state: State; frame: Frame; refused: undefined }> {
    state: State = "connecting";
    become(state: State) {
      this.state = state;
      this.emit("state", state);
    }
  })();
  const uploads = new FileUploads({ outbox, connection, database: browser.database, requests, locks: undefined });
  await outbox.load();
  const tab = await who.open({ watch: [] });
  let read = 0;
  const answers = setInterval(() => {
    for (const frame of tab.heard.slice(read)) {
      read++;
      if (frame.type === "ack") outbox.acknowledge(frame["ref"], frame["seq"]);
      if (frame.type === "error") outbox.reject(frame["ref"], frame["code"]);
    }
  }, 5);
  const connect = () => {
    connection.become("open");
    outbox.connected((pending) => {
      tab.say(toFrame(pending));
      return true;
    });
  };
  const close = async () => {
    clearInterval(answers);
    connection.become("connecting");
    outbox.disconnected();
    uploads.end();
    await tab.close();
  };
  const sendFile = (to: Person, bytes: Uint8Array, { name = "a.bin", text = "" } = {}) => {
    const blob = new Blob([new Uint8Array(bytes)]);
    const key = uploads.keep(blob);
    return outbox.add(to.name, text, { file: { id: "", key, name, type: "", size: blob.size, isOriginal: true } })!;
  };
  return { outbox, connection, uploads, connect, close, sendFile };
}

const rows = (me: Person, peer: Person) => me.json<Row[]>(`/messages/${me.name}/${peer.name}?peek=1`);
const isEmpty = (outbox: Outbox) => until("the outbox is empty", () => outbox.size === 0, 20_000);

test("sends files and texts in the order they were written, whole, and forgets the bytes", async () => {
  const [ann, bob] = await pair();
  const browser = newBrowser();
  const page = await openPage(ann, browser);
  page.connect();
  const files = [content(3 * CHUNK + 7), content(10), content(CHUNK), content(5), content(8)];
  for (const [at, bytes] of files.entries()) {
    page.sendFile(bob, bytes, { name: `${at}.bin`, text: at === 1 ? "a caption" : "" });
    page.outbox.add(bob.name, `text ${at}`);
  }
  await isEmpty(page.outbox);
  const sent = await rows(bob, ann);
  expect(sent.map((row) => row.content)).toEqual(
    files.flatMap((_, at) => [at === 1 ? "a caption" : `${at}.bin`, `text ${at}`]),
  );
  for (const [at, { file }] of sent.filter((row) => row.file).entries())
    expect(Buffer.compare((await fetchFile(bob, file!.id)).bytes, files[at]!)).toBe(0);
  await until("the bytes are deleted", async () => (await browser.database.entries("bytes")).size === 0);
  expect((await browser.database.entries("uploads")).size).toBe(0);
  await page.close();
});

test("uploads at most three files at a time", async () => {
  const [ann, bob] = await pair();
  const requests = requestsOf(ann);
  const running = new Map<string, number>();
  let most = 0;
  const page = await openPage(ann, newBrowser(), {
    ...requests,
    put: async (id, n, bytes, signal) => {
      running.set(id, (running.get(id) ?? 0) + 1);
      most = Math.max(most, [...running.values()].filter((count) => count > 0).length);
      await Bun.sleep(10);
      await requests.put(id, n, bytes, signal);
      running.set(id, running.get(id)! - 1);
    },
  });
  page.connect();
  for (let at = 0; at < 7; at++) page.sendFile(bob, content(3 * CHUNK));
  await isEmpty(page.outbox);
  expect(most).toBe(3);
  expect(await rows(bob, ann)).toHaveLength(7);
  await page.close();
});

test("continues an upload on another page and another pod, without sending a chunk again", async () => {
  const [ann, bob] = await pair();
  const browser = newBrowser();
  const bytes = content(6 * CHUNK + 1);
  const requests = requestsOf(ann);
  const arrived: number[] = [];
  const first = await openPage(ann, browser, {
    ...requests,
    put: async (id, n, chunk, signal) => {
      if (arrived.length >= 3) throw new TypeError("Failed to fetch");
      await requests.put(id, n, chunk, signal);
      arrived.push(n);
    },
  });
  first.connect();
  first.sendFile(bob, bytes);
  first.outbox.add(bob.name, "after it");
  await until("the network is lost", () => {
    const [message] = first.outbox.files.all();
    return message !== undefined && arrived.length >= 3 && first.uploads.stateOf(message.file).isPaused;
  });
  await first.close();
  expect(await rows(bob, ann)).toEqual([]);

  const onTwo = requestsOf(ann.at(two));
  const later: number[] = [];
  const second = await openPage(ann.at(two), browser, {
    ...onTwo,
    put: async (id, n, chunk, signal) => {
      later.push(n);
      await onTwo.put(id, n, chunk, signal);
    },
  });
  second.connect();
  await isEmpty(second.outbox);
  expect([...arrived, ...later].toSorted()).toEqual([0, 1, 2, 3, 4, 5, 6]);
  const sent = await rows(bob, ann);
  expect(sent.map((row) => row.content)).toEqual(["a.bin", "after it"]);
  expect(Buffer.compare((await fetchFile(bob, sent[0]!.file!.id)).bytes, bytes)).toBe(0);
  await second.close();
});

test("uploads a file again that the server deleted before it was sent", async () => {
  const [ann, bob] = await pair();
  const requests = requestsOf(ann);
  let isDeleted = false;
  const page = await openPage(ann, newBrowser(), {
    ...requests,
    put: async (id, n, bytes, signal) => {
      await requests.put(id, n, bytes, signal);
      if (isDeleted) return;
      isDeleted = true;
      await requests.remove(id);
    },
  });
  page.connect();
  const message = page.sendFile(bob, content(10));
  await until("the message failed", () => page.outbox.to(bob.name)[0]?.code === "no_such_file");
  page.outbox.retry(message.ref);
  await isEmpty(page.outbox);
  expect(await rows(bob, ann)).toHaveLength(1);
  await page.close();
});

test("reports a file that the server rejects, and sends what follows", async () => {
  const [ann, bob] = await pair();
  const page = await openPage(ann, newBrowser(), {
    ...requestsOf(ann),
    begin: () => Promise.reject(new Rejected("quota_exceeded")),
  });
  page.connect();
  page.sendFile(bob, content(10));
  page.outbox.add(bob.name, "after it");
  await until("the text is sent", () => page.outbox.size === 1);
  expect(page.outbox.to(bob.name)).toMatchObject([{ state: "failed", code: "quota_exceeded" }]);
  expect((await rows(bob, ann)).map((row) => row.content)).toEqual(["after it"]);
  await page.close();
});

test("ends the upload of a discarded message, also on the server", async () => {
  const [ann, bob] = await pair();
  const browser = newBrowser();
  const requests = requestsOf(ann);
  const ids = new Set<string>();
  const page = await openPage(ann, browser, {
    ...requests,
    put: async (id, n, bytes, signal) => {
      ids.add(id);
      if (n > 1) throw new TypeError("Failed to fetch");
      await requests.put(id, n, bytes, signal);
    },
  });
  page.connect();
  const { ref } = page.sendFile(bob, content(4 * CHUNK));
  page.outbox.add(bob.name, "after it");
  await until("the upload has begun", () => ids.size === 1);
  page.outbox.remove(ref);
  await isEmpty(page.outbox);
  const [id = ""] = ids;
  await until("the server has deleted it", async () => (await ann.get(`/files/${id}/status`)).status === 404);
  expect((await browser.database.entries("bytes")).size).toBe(0);
  expect((await rows(bob, ann)).map((row) => row.content)).toEqual(["after it"]);
  await page.close();
});

test("says that a file is lost with the page where the browser has no room, and sends it all the same", async () => {
  const [ann, bob] = await pair();
  const page = await openPage(ann, { records: new Map(), database: NO_DATABASE });
  const { promise, resolve } = Promise.withResolvers<void>();
  page.uploads.on("volatile", () => resolve());
  page.sendFile(bob, content(10));
  await promise;
  expect(page.uploads.isVolatile).toBeTrue();
  page.connect();
  await isEmpty(page.outbox);
  await until("nothing is kept", () => !page.uploads.isVolatile);
  expect(await rows(bob, ann)).toHaveLength(1);
  await page.close();
});

test("sends a file once, with the caption that it was given while it was uploaded", async () => {
  const [ann, bob] = await pair();
  const requests = requestsOf(ann);
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  const page = await openPage(ann, newBrowser(), {
    ...requests,
    put: async (id, n, bytes, signal) => {
      await held;
      await requests.put(id, n, bytes, signal);
    },
  });
  page.connect();
  const message = page.sendFile(bob, content(CHUNK + 1), { text: "befor" });
  page.outbox.edit(bob.name, { ref: message.ref }, "before");
  page.outbox.add(bob.name, "after");
  release();
  await isEmpty(page.outbox);
  expect((await rows(bob, ann)).map((row) => [row.content, row.file?.name])).toEqual([
    ["before", "a.bin"],
    ["after", undefined],
  ]);
  await page.close();
});
