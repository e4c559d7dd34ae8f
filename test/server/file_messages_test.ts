/** Messages that send files: to whom, once, and what edits, deletions, blocks and accounts do to them. On two pods. */

import { expect, setDefaultTimeout, test } from "bun:test";

import { type Frame, PASSWORD, type Person, type Tab } from "../support/harness.ts";
import { phoneJpeg, png } from "../support/images.ts";
import { sharedPods } from "../support/shared_app.ts";
import { until } from "../support/until.ts";
import { content, fetchFile, upload } from "../support/uploads.ts";

setDefaultTimeout(30_000);

const { one, two } = await sharedPods();

type Row = Record<string, unknown>;
let people = 0;
async function pair(): Promise<{ ann: Person; bob: Person; annTab: Tab; bobTab: Tab }> {
  const id = `${++people}_${crypto.randomUUID().slice(0, 6)}`;
  const [ann, bob] = (await one.people(`ann${id}`, `bob${id}`)) as [Person, Person];
  const [annTab, bobTab] = await Promise.all([ann.open({ watch: [] }), bob.at(two).open({ watch: [] })]);
  return { ann, bob, annTab, bobTab };
}
const rows = (me: Person, peer: Person, query = "peek=1") =>
  me.json<Row[]>(`/messages/${me.name}/${peer.name}?${query}`);
const statusOf = async (who: Person, id: string) => (await who.get(`/files/${id}`)).status;

/** Sends a frame with a file. @returns its `ack` or `error` */
async function sendFile(tab: Tab, to: Person, file: string, rest: Row = {}): Promise<Frame> {
  const ref = (rest["ref"] as string | undefined) ?? tab.newRef();
  const before = tab.heard.length;
  tab.say({ to: to.name, message: "", file, ref, ...rest });
  const answer = () =>
    tab.heard.slice(before).find((frame) => frame["ref"] === ref && ["ack", "error"].includes(frame.type));
  await until(`an answer to ${ref}`, () => answer() !== undefined);
  return answer()!;
}

test("a picture reaches the other user's devices, history, the list, search and the export, with its preview", async () => {
  const { ann, bob, annTab, bobTab } = await pair();
  const { id } = await upload(ann, await phoneJpeg(png(400, 200), 1), { name: "beach.jpg" });
  expect(await statusOf(bob, id)).toBe(404);
  const ack = await sendFile(annTab, bob, id, { message: "look at this" });
  expect(ack).toMatchObject({ type: "ack", seq: 1, duplicate: false });
  const frame = await bobTab.next("message");
  const file = { id, name: "beach.jpg", type: "image/jpeg", width: 400, height: 200 };
  expect(frame).toMatchObject({ message: "look at this", seq: 1, file });
  const { size, placeholder } = frame["file"] as { size: number; placeholder: string };
  expect((await fetchFile(bob, id)).bytes.length).toBe(size);
  expect((await fetchFile(bob.at(two), id, "/preview")).status).toBe(200);
  const whole = { ...file, size, placeholder };
  expect((await rows(bob, ann))[0]).toMatchObject({ content: "look at this", file: whole });
  expect((await rows(bob, ann, "peek=1&limit=5"))[0]).toMatchObject({ file: whole });
  expect(await bob.json<Row[]>("/conversations")).toMatchObject([{ last: { content: "look at this", file: whole } }]);
  expect(await bob.json<Row[]>("/search?q=look")).toMatchObject([{ file: whole }]);
  expect(await bob.json<{ messages: Row[] }>("/export")).toMatchObject({ messages: [{ file: whole }] });
});

test("without a caption, the text is the file's name, also for SQL readers", async () => {
  const { ann, bob, annTab, bobTab } = await pair();
  const { id } = await upload(ann, content(5), { name: "../notes.txt" });
  await sendFile(annTab, bob, id);
  expect(await bobTab.next("message")).toMatchObject({ message: "notes.txt", file: { name: "notes.txt", size: 5 } });
  expect(await one.sql`select content from messages where sender = ${ann.name}`).toMatchObject([
    { content: "notes.txt" },
  ]);
  expect(await bob.json<Row[]>("/search?q=notes")).toHaveLength(1);
});

test("a note to oneself and a reply can have a file", async () => {
  const { ann, bob, annTab } = await pair();
  const [note, reply] = [await upload(ann, content(5)), await upload(ann, content(6))];
  expect(await sendFile(annTab, ann, note.id)).toMatchObject({ type: "ack" });
  await annTab.send(bob.name, "first");
  expect(await sendFile(annTab, bob, reply.id, { reply_to: 1 })).toMatchObject({ type: "ack", seq: 2 });
  expect((await rows(bob, ann))[1]).toMatchObject({ reply_to: 1, file: { id: reply.id } });
});

test("a resend is acked with the same number, from any pod, and nothing arrives twice", async () => {
  const { ann, bob, annTab, bobTab } = await pair();
  const { id } = await upload(ann, content(5));
  const ref = annTab.newRef();
  const first = await sendFile(annTab, bob, id, { ref });
  await bobTab.next("message");
  const other = await ann.at(two).open({ watch: [] });
  expect(await sendFile(other, bob, id, { ref })).toMatchObject({ ...first, duplicate: true });
  await bobTab.hearsNo("message");
  expect(await sendFile(annTab, bob, id, { ref, message: "another text" })).toMatchObject({ code: "ref_reused" });
  const second = await upload(ann, content(5));
  expect(await sendFile(annTab, bob, second.id, { ref })).toMatchObject({ code: "ref_reused" });
  expect(await rows(bob, ann)).toHaveLength(1);
});

test("a file is sent once, however often and wherever it is sent at once", async () => {
  const { ann, bob, annTab } = await pair();
  const { id } = await upload(ann, content(5));
  const tabs = [annTab, await ann.at(two).open({ watch: [] })];
  const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => sendFile(tabs[i % 2]!, i % 3 ? bob : ann, id)));
  expect(answers.filter(({ type }) => type === "ack")).toHaveLength(1);
  expect(answers.filter(({ code }) => code === "no_such_file")).toHaveLength(7);
  const [{ count }] = await one.sql<[{ count: number }]>`
    select count(*)::int as count from messages where file ->> 'id' = ${id}
  `;
  expect(count).toBe(1);
  expect(await sendFile(annTab, bob, id)).toMatchObject({ type: "error", code: "no_such_file" });
});

test("a file that is unfinished, another's, deleted or made up is refused, and nothing is stored", async () => {
  const { ann, bob, annTab, bobTab } = await pair();
  const unfinished = ((await (await ann.post("/files", { name: "a", size: 3 })).json()) as { id: string }).id;
  const { id: hers } = await upload(ann, content(5));
  const { id: removed } = await upload(ann, content(5));
  await ann.post(`/files/${removed}/remove`);
  for (const id of [unfinished, removed, "A".repeat(22)]) {
    expect(await sendFile(annTab, bob, id)).toMatchObject({ type: "error", code: "no_such_file" });
  }
  expect(await sendFile(bobTab, ann, hers)).toMatchObject({ code: "no_such_file" });
  expect(await rows(bob, ann)).toEqual([]);
  expect(await sendFile(annTab, bob, hers)).toMatchObject({ type: "ack", seq: 1 });
});

test.each<[unknown]>([[7], [null], ["x"], [""], ["\0".repeat(22)], [{}]])(
  "the file %j is a bad request",
  async (file) => {
    const { bob, annTab } = await pair();
    expect(await sendFile(annTab, bob, file as string)).toMatchObject({ code: "bad_request" });
  },
);

test("an empty text without a file, and a blank one with a file, are refused", async () => {
  const { ann, bob, annTab } = await pair();
  const { id } = await upload(ann, content(5));
  expect(await sendFile(annTab, bob, id, { message: " " })).toMatchObject({ code: "invalid_text" });
  annTab.say({ to: bob.name, message: "", ref: annTab.newRef() });
  expect(await annTab.next("error")).toMatchObject({ code: "invalid_text" });
});

test("messages with and without files, sent at once, keep their order", async () => {
  const { ann, bob, annTab } = await pair();
  const files = await Promise.all(Array.from({ length: 5 }, (_, i) => upload(ann, content(5), { name: `f${i}.bin` })));
  const refs: string[] = [];
  for (const { id } of files) {
    for (const file of [undefined, id]) {
      refs.push(annTab.newRef());
      annTab.say({ to: bob.name, message: file ? "" : "text", ref: refs.at(-1), ...(file && { file }) });
    }
  }
  for (let i = 0; i < refs.length; i++) await annTab.next("ack");
  const stored = await rows(ann, bob);
  expect(stored.map(({ ref }) => ref as string)).toEqual(refs);
  expect(stored.map(({ content }) => content as string)).toEqual(files.flatMap((_, i) => ["text", `f${i}.bin`]));
});

test("a copy can be sent on to others, and ends apart from the original", async () => {
  const { ann, bob, annTab, bobTab } = await pair();
  const carol = await one.person(`carol${people}`);
  const bytes = content(300_000);
  const { id } = await upload(ann, bytes);
  await sendFile(annTab, bob, id);
  expect(await sendFile(bobTab, carol, id)).toMatchObject({ code: "no_such_file" }); // not his own
  expect((await carol.post(`/files/${id}/copy`)).status).toBe(404);
  const { id: copy } = (await (await bob.post(`/files/${id}/copy`)).json()) as { id: string };
  expect(await sendFile(bobTab, carol, copy)).toMatchObject({ type: "ack" });
  expect(await statusOf(ann, copy)).toBe(404);
  annTab.say({ type: "delete", peer: bob.name, seq: 1, ref: annTab.newRef() });
  await annTab.next("changed");
  expect([await statusOf(bob, id), await statusOf(carol, id)]).toEqual([404, 404]);
  expect(Buffer.compare((await fetchFile(carol, copy)).bytes, bytes)).toBe(0);
});

test("an edit keeps the file, a deletion erases it for everyone at once", async () => {
  const { ann, bob, annTab, bobTab } = await pair();
  const { id } = await upload(ann, await phoneJpeg(png(40, 20), 1));
  const ref = annTab.newRef();
  const ack = await sendFile(annTab, bob, id, { ref, message: "caption" });
  await fetchFile(bob, id, "/preview");
  annTab.say({ type: "edit", peer: bob.name, seq: 1, message: "better", ref: annTab.newRef() });
  expect(await bobTab.next("changed")).toMatchObject({ message: { content: "better", file: { id } } });
  bobTab.say({ type: "react", peer: ann.name, seq: 1, emoji: "👍", ref: bobTab.newRef() });
  expect(await bobTab.next("changed")).toMatchObject({ message: { file: { id } } });
  annTab.say({ type: "delete", peer: bob.name, seq: 1, ref: annTab.newRef() });
  const changed = (await bobTab.next("changed"))["message"] as Row;
  expect(changed).toMatchObject({ deleted: true, content: "" });
  expect(changed).not.toHaveProperty("file");
  for (const who of [ann, bob]) {
    for (const path of ["", "/preview", "/status"]) expect((await who.get(`/files/${id}${path}`)).status).toBe(404);
    expect((await who.post(`/files/${id}/copy`)).status).toBe(404);
  }
  expect((await rows(bob, ann))[0]).not.toHaveProperty("file");
  expect(await one.sql`select file from messages where sender = ${ann.name}`).toMatchObject([{ file: null }]);
  expect(await sendFile(annTab, bob, id, { ref, message: "caption" })).toMatchObject({ ...ack, duplicate: true });
});

test("across a block, the blocker reads what was sent before it, the blocked one only their own", async () => {
  const { ann, bob, annTab, bobTab } = await pair();
  const [before, during, his] = [
    await upload(ann, content(5)),
    await upload(ann, content(6)),
    await upload(bob, content(7)),
  ];
  await sendFile(annTab, bob, before.id);
  await sendFile(bobTab, ann, his.id);
  await bob.post("/blocks", { name: ann.name, blocked: true });
  expect(await sendFile(annTab, bob, during.id)).toMatchObject({ type: "ack" });
  expect(await statusOf(bob, before.id)).toBe(200);
  expect(await statusOf(bob, during.id)).toBe(404);
  expect([await statusOf(ann, before.id), await statusOf(ann, during.id), await statusOf(ann, his.id)]).toEqual([
    200, 200, 200,
  ]);
  const { id } = await upload(bob, content(5));
  expect(await sendFile(bobTab, ann, id)).toMatchObject({ code: "blocked" });
  await bob.post("/blocks", { name: ann.name, blocked: false });
  expect(await statusOf(bob, during.id)).toBe(200);
});

test("a third user, a signed-out one and one with a forged cookie read nothing", async () => {
  const { ann, bob, annTab } = await pair();
  const carol = await one.person(`eve${people}`);
  const { id } = await upload(ann, await phoneJpeg(png(40, 20), 1));
  await sendFile(annTab, bob, id);
  const session = await bob.logIn();
  expect(await statusOf(session, id)).toBe(200);
  await session.get("/logout");
  for (const path of ["", "/preview", "/status"]) {
    expect((await carol.get(`/files/${id}${path}`, { range: "bytes=0-1" })).status).toBe(404);
    expect((await session.get(`/files/${id}${path}`)).status).toBe(401);
    expect((await fetch(`${one.url}/files/${id}${path}`, { headers: { cookie: "chatify_session=a.b" } })).status).toBe(
      401,
    );
  }
});

test("a deleted account reads nothing; what it sent stays with the others, what it did not send ends", async () => {
  const { ann, bob, annTab } = await pair();
  const [sent, unsent] = [await upload(ann, content(5)), await upload(ann, content(6))];
  await sendFile(annTab, bob, sent.id);
  await one.sql`update files set claimed_at = claimed_at - interval '2 minutes' where owner = ${ann.name}`;
  expect((await ann.post("/me/delete", { password: PASSWORD })).status).toBe(200);
  expect(await statusOf(ann, sent.id)).toBe(401);
  expect((await fetchFile(bob, sent.id)).bytes.length).toBe(5);
  const left =
    await one.sql`select id, deleted_at is null as "isLive" from files where owner = ${ann.name} order by id`;
  expect(new Map(left.map(({ id, isLive }) => [id as string, isLive as boolean]))).toEqual(
    new Map([
      [sent.id, true],
      [unsent.id, false],
    ]),
  );
});

test("the first frame names the largest file", async () => {
  const { ann } = await pair();
  const tab = await ann.open();
  expect(tab.heard[0]).toMatchObject({ type: "hello", file_max: 25_000_000 });
});
