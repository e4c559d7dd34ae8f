/** Conversations of several days with replies, reactions and edits: the list and the thread as they look after a year. */

import type { Person, Tab, TestApp } from "../harness.ts";
import { setTimes } from "../message_times.ts";

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;

/** Days ago, the minute of the day in UTC, and what Iris (`>`) or Eleni (`<`) writes. */
const LINES: readonly (readonly [daysAgo: number, minute: number, line: string])[] = [
  [400, 600, "< Hi Iris, this is Eleni from the sailing course. I found you!"],
  [400, 604, "> Welcome aboard ⛵"],
  [
    3,
    1_120,
    "< Do you remember the tavern above the harbor, the one with the blue chairs and the cat that sleeps on the bar?",
  ],
  [3, 1_121, "< They open again on Friday"],
  [3, 1_121, "< I already asked for the table at the railing, because last year we ended up beside the kitchen door"],
  [3, 1_125, "> How could I forget that cat"],
  [3, 1_126, "> Friday works. Half past eight?"],
  [1, 540, "< Πάμε με το πλοίο των έξι; Έτσι προλαβαίνουμε και το ηλιοβασίλεμα."],
  [1, 542, "> Ναι! Κλείνω εισιτήρια τώρα."],
  [1, 550, "> https://www.example.org/ferries/piraeus-to-aegina?departure=18:00&passengers=2&class=deck"],
  [1, 551, "> 🎟️🎟️"],
  [1, 560, "< 🥳"],
  [1, 561, "> Which jacket should I bring?"],
  [0, 20, "< Good morning! Did it arrive?"],
  [0, 24, "> It did. Two tickets, deck, six o’clock. Bring a jacket, it gets windy once the sun is down."],
  [0, 25, "< Will do"],
  [0, 26, "> See you at the pier, next to the kiosk with the green roof"],
  [0, 26, "> I’ll be the one with two ice creams"],
];

/** Users who wrote or were written to once: name, display name, days ago, text, and whether Iris wrote. */
const OTHERS: readonly (readonly [string, string, number, string, boolean])[] = [
  ["Marco", "Marco Bellini", 1, "The photos are on their way, all 214 of them", false],
  ["Zoe", "Ζωή Καραγιάννη", 4, "Τα λέμε την Κυριακή!", true],
  ["Tom", "", 40, "Sure, keep it as long as you like", false],
  ["June", "June Okafor-Lindqvist", 500, "Happy new year!! 🎆", true],
];

/** Lets Iris chat with several people. Returns her. */
export async function populateLongChats(app: TestApp): Promise<Person> {
  const [iris, eleni, ...others] = await app.people("Iris", "Eleni", ...OTHERS.map(([name]) => name));
  const [mine, hers] = [await iris!.open(), await eleni!.open()];
  await eleni!.post("/me/profile", { display_name: "Ελένη Παπαδοπούλου" });
  for (const [index, [name, shown, daysAgo, text, isMine]] of OTHERS.entries()) {
    const other = others[index]!;
    if (shown) await other.post("/me/profile", { display_name: shown });
    const tab = await other.open();
    await (isMine ? mine.send(name, text) : tab.send("Iris", text));
    if (isMine) await read(app, tab, "Iris", 1);
    else if (name !== "Marco") await read(app, mine, name, 1);
    await tab.close();
    await setTimes(app, ["Iris", name], [Date.now() - daysAgo * DAY_MS]);
  }
  for (const [, , line] of LINES) {
    const reply = line.includes("the one with two") ? { reply_to: 16 } : {};
    const [tab, to] = line.startsWith(">") ? [mine, "Eleni"] : [hers, "Iris"];
    tab.say({ to, message: line.slice(2), ref: tab.newRef(), ...reply });
    await tab.next("ack");
  }
  for (const [tab, peer, seq, emoji] of [
    [mine, "Eleni", 3, "❤️"],
    [hers, "Iris", 7, "👍"],
    [mine, "Eleni", 8, "🌅"],
    [hers, "Iris", 8, "🌅"],
    [hers, "Iris", 17, "😂"],
  ] as const)
    tab.say({ type: "react", peer, seq, emoji, ref: tab.newRef() });
  mine.say({ type: "delete", peer: "Eleni", seq: 13, ref: mine.newRef() });
  const text = "Two tickets, deck, six o’clock. Bring a jacket, it gets windy once the sun is down.";
  mine.say({ type: "edit", peer: "Eleni", seq: 15, message: text, ref: mine.newRef() });
  await read(app, mine, "Eleni", 16);
  await read(app, hers, "Iris", 17);
  const today = Math.floor(Date.now() / DAY_MS) * DAY_MS;
  await setTimes(
    app,
    ["Iris", "Eleni"],
    LINES.map(([daysAgo, minute]) => Math.min(today - daysAgo * DAY_MS + minute * MINUTE_MS, Date.now())),
  );
  mine.say({ type: "draft", peer: "Tom", text: "About the tent: could I", ack: 1 });
  await mine.next("draft_saved");
  await mine.close();
  return iris!;
}

/** Marks messages as read, and waits until that is stored. */
async function read(app: TestApp, tab: Tab, peer: string, seq: number): Promise<void> {
  tab.say({ type: "read", peer, seq });
  for (let tries = 0; tries < 100; tries++) {
    const marks = await app.sql`
      select from conversations
      where ${tab.who} in (low, high) and ${peer} in (low, high)
        and ${seq} <= case low when ${tab.who} then low_read_seq else high_read_seq end`;
    if (marks.length > 0) return;
    await Bun.sleep(50);
  }
  throw new Error(`${tab.who} could not mark the messages of ${peer} as read`);
}
