/** The users of the states, and their messages. */

import { PASSWORD, type Person, post, type Tab, type TestApp } from "../harness.ts";
import { BLUE, GREEN, png } from "../images.ts";

/** The longest name that is allowed. */
export const LONG = `Μαρία-${"ωραία".repeat(8)}`;
const LONG_BLOCKED = `blocked-${"bob".repeat(14)}`;
export const RIGHT_TO_LEFT = "ليلى";
const IPHONE =
  "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148 Safari/604.1";
const UNUSUAL_TEXTS = [
  "مرحبا! هل نلتقي غدا في الساعة 10:30؟",
  "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft ".repeat(2).trim(),
  "x".repeat(300),
  "https://example.org/a/very/long/address/that/goes/on/and/on/and/on?with=many&parameters=in&its=query#and-a-fragment",
  "🌊",
  "👩‍👩‍👧‍👦🇬🇷👍🏽",
  "one line\n\n\nand another after two empty ones\n    indented",
  "שלום, the sea, θάλασσα, море, 海 — all in one line",
  "try `npx -y bun@1.4.5 run start`, then:\n```sh\nbun run chatify user add ann --admin   # a line of code longer than any phone is wide\n```",
];

/** Lets users write to Ann, delete their account, and be blocked. @returns Bob's device */
export async function populate(app: TestApp, ann: Person): Promise<Tab> {
  const names = ["Bob", "Put-away", "Gone", "Blocked", "Quiet", LONG, RIGHT_TO_LEFT, LONG_BLOCKED];
  const [bob, away, gone, blocked, quiet, long, right] = await app.people(...names);
  const mine = await ann.open();
  for (const person of [bob!, away!, gone!, blocked!, quiet!]) await (await person.open()).send("Ann", "hello");
  const theirs = await long!.open();
  for (let i = 0; i < 120; i++) theirs.say({ to: "Ann", message: `${i}: `.padEnd(200, "long ") });
  const wild = await right!.open();
  for (const [i, text] of UNUSUAL_TEXTS.entries())
    await (i % 3 ? wild.send("Ann", text) : mine.send(RIGHT_TO_LEFT, text));
  await right!.post("/me/profile", { display_name: "ليلى من الجزيرة البعيدة" });
  await quiet!.post("/me/profile", { display_name: "Dr. Ann-Sophie Smith-Papadopoulou of the Far Isles" });
  await blocked!.post("/me/profile", { display_name: "Someone Else" });
  await givePhoto(app, ann);
  await givePhoto(app, bob!);
  const tab = await bob!.open();
  for (const text of ["see https://example.org and `let a`", "```ts\nlet a = 1;\n```", "🙂", "one more\nline"]) {
    await mine.send("Bob", text);
    await tab.send("Ann", text);
  }
  for (const [from, peer, seq, emoji] of [
    [tab, "Ann", 2, "👍"],
    [mine, "Bob", 2, "❤️"],
    [mine, "Bob", 3, "😂"],
    [tab, "Ann", 4, "👍"],
    [mine, "Bob", 4, "👍"],
  ] as const)
    from.say({ type: "react", peer, seq, emoji, ref: from.newRef() });
  tab.say({ to: "Ann", message: "That one, yes", reply_to: 2 });
  await mine.send("Blocked", "please stop, see https://example.org and `let a`");
  await gone!.post("/me/delete", { password: PASSWORD });
  for (const name of ["Blocked", LONG_BLOCKED]) await ann.post("/blocks", { name, blocked: true });
  await ann.post("/mutes", { name: "Quiet", muted: true });
  for (const [name, changes] of [
    ["Quiet", { pinned: true }],
    [LONG, { pinned: true }],
    ["Gone", { marked_unread: true }],
    ["Put-away", { archived: true }],
  ] as const)
    await ann.post("/conversations", { name, ...changes });
  await post(`${app.url}/login`, { username: "Ann", password: PASSWORD }, { "user-agent": IPHONE });
  await mine.close();
  return tab;
}

async function givePhoto(app: TestApp, { cookie }: Person): Promise<void> {
  const body = png(64, 64, (_, y) => (y < 0.5 ? BLUE : GREEN)) as Uint8Array<ArrayBuffer>;
  await fetch(`${app.url}/me/photo`, { method: "POST", headers: { cookie, "content-type": "image/png" }, body });
}
