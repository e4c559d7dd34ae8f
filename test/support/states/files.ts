/** A conversation with files of every kind. */

import type { Person, Tab, TestApp } from "../harness.ts";
import { type Color, png } from "../images.ts";
import { upload } from "../uploads.ts";

export interface SentFile {
  readonly bytes: Uint8Array;
  readonly name: string;
  /** The text below it. */
  readonly words?: string;
  readonly type?: string;
}

/** A view of the sea, of these sides. */
export function seaside(width: number, height: number, hour = 0): Uint8Array {
  return png(width, height, (x, y): Color => {
    if (Math.hypot((x - 0.7) * width, (y - 0.25) * height) < 0.11 * height) return [255, 214, 120];
    if (y < 0.5) return [80 + 150 * y + 40 * hour, 150 + 80 * y - 25 * hour, 235 - 60 * hour];
    if (y < 0.78) return [20, 90 + 60 * (y - 0.5) * Math.abs(Math.sin(x * 20)), 150 - 30 * hour];
    return [225 - 20 * Math.sin(x * 9), 196 - 10 * hour, 140];
  });
}

/** Half a second of a tone. */
export function tone(): Uint8Array {
  const samples = 4_000;
  const wav = Buffer.alloc(44 + samples);
  wav.write("RIFF", 0, "latin1");
  wav.writeUInt32LE(36 + samples, 4);
  wav.write("WAVEfmt ", 8, "latin1");
  for (const [at, value] of [
    [16, 16],
    [24, 8_000],
    [28, 8_000],
    [40, samples],
  ] as const)
    wav.writeUInt32LE(value, at);
  for (const [at, value] of [
    [20, 1],
    [22, 1],
    [32, 1],
    [34, 8],
  ] as const)
    wav.writeUInt16LE(value, at);
  wav.write("data", 36, "latin1");
  for (let i = 0; i < samples; i++) wav[44 + i] = 128 + 100 * Math.sin(i / 3);
  return wav;
}

/** Sends a file, and waits until it is stored. @returns its id, and the `seq` of its message */
export async function sendFile(
  from: { person: Person; tab: Tab },
  to: string,
  { bytes, name, words = "", type }: SentFile,
): Promise<{ id: string; seq: number }> {
  const { id } = await upload(from.person, bytes, { name, ...(type && { type }) });
  const ref = from.tab.newRef();
  from.tab.say({ to, message: words, file: id, ref });
  const { seq } = await from.tab.next("ack");
  return { id, seq: seq as number };
}

/** Nina and Kostas send each other files. @returns Nina */
export async function populateFiles(app: TestApp): Promise<Person> {
  const [nina, kostas] = await app.people("Nina", "Kostas");
  const mine = { person: nina!, tab: await nina!.open() };
  const his = { person: kostas!, tab: await kostas!.open() };
  const text = new TextEncoder();
  await sendFile(mine, "Kostas", { bytes: text.encode("# Packing list\n".repeat(90)), name: "packing list.txt" });
  await sendFile(his, "Nina", { bytes: tone(), name: "the bells of the harbor.wav" });
  await sendFile(his, "Nina", { bytes: tone(), name: "voice.webm", type: "audio/webm" });
  await sendFile(his, "Nina", { bytes: seaside(160, 400), name: "tall.png" });
  await his.tab.send("Nina", "It’s beautiful here");
  for (const [hour, name] of ["harbor", "beach", "terrace"].entries())
    await sendFile(his, "Nina", { bytes: seaside(480, 360, hour), name: `${name}.png` });
  await sendFile(mine, "Kostas", {
    bytes: seaside(640, 400, 2),
    name: "mine.png",
    words: "And this is what it looked like last summer, from the window of the small hotel above the bay",
  });
  return nina!;
}
