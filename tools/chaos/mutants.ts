/**
 * Preloaded into a server: builds in the mutant named by CHAOS_MUTANT, by replacing a piece of source as it is loaded.
 * A piece that does not occur exactly once ends the process, so that a stale mutant is not mistaken for one the checker
 * missed.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { MutantName } from "./options.ts";

interface Change {
  /** Below `src/`. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const CHANGES: Readonly<Record<MutantName, readonly Change[]>> = {
  ack_before_commit: [
    {
      file: "chat/send_queue.ts",
      from: "return db.run((sql) => insertMessages(sql, messages), {",
      to: `return db.run(async (sql) => {
        if (quarantined) return insertMessages(sql, messages);
        await sql.unsafe("commit");
        await sql.unsafe("begin");
        const rows = await insertMessages(sql, messages);
        setTimeout(() => void sql.unsafe("commit").catch(() => {}), 200);
        return rows;
      }, {`,
    },
  ],
  no_unique_ref: [
    {
      file: "db/insert_messages.ts",
      from: 'where sender = t.sender collate "C" and ref = t.ref collate "C"',
      to: "where false",
    },
  ],
  seq_in_memory: [
    {
      file: "db/insert_messages.ts",
      from: "for (const row of rows) results[row.ord - 1] = row;",
      to: `const memory = ((globalThis as any).chaosNumbers ??= new Map<string, number>());
      for (const row of rows) {
        const pair = [messages[row.ord - 1]!.sender, row.receiver].sort().join(" ");
        const seq = row.alreadyStored ? row.seq : (memory.get(pair) ?? row.seq - 1) + 1;
        if (!row.alreadyStored) memory.set(pair, seq);
        results[row.ord - 1] = { ...row, seq };
      }`,
    },
  ],
  no_sync: [
    {
      file: "protocol.ts",
      from: 'export const SYNC_FRAME = JSON.stringify({ type: "sync" });',
      to: 'export const SYNC_FRAME = JSON.stringify({ type: "pong" });',
    },
  ],
  no_close_on_drop: [
    { file: "chat/socket.ts", from: "closeOnBackpressureLimit: true,", to: "closeOnBackpressureLimit: false," },
  ],
  async_handler: [
    {
      file: "chat/socket.ts",
      from: "chat.send(socket, frame);\n        return undefined;",
      to: "return Bun.sleep(Math.random() * 20).then(() => chat.send(socket, frame));",
    },
  ],
  lost_changes: [
    {
      file: "chat/changes.ts",
      from: "this.#db.run((sql) => changeMessages(sql, changes, this.#windows), {",
      to: `this.#db.run(async (sql) => {
        if (Math.random() < 0.9) return changeMessages(sql, changes, this.#windows);
        let outcomes;
        await (sql as any).begin(async (transaction: any) => {
          outcomes = await changeMessages(transaction, changes, this.#windows);
          throw new Error("rolled back");
        }).catch(() => {});
        return outcomes!;
      }, {`,
    },
  ],
  revision_in_memory: [
    {
      file: "db/changes.ts",
      from: "    order by place\n  `;",
      to: `    order by place
  \`;
      const memory = ((globalThis as any).chaosRevisions ??= new Map<string, number>());
      for (const row of rows as any[]) {
        if (row.outcome !== "changed") continue;
        const pair = [row.sender, row.receiver].sort().join(" ");
        row.revision = (memory.get(pair) ?? row.revision - 1) + 1;
        memory.set(pair, row.revision);
      }`,
    },
  ],
  changes_after_deletion: [],
  no_change_refs: [],
};

const CHANGES_SQL = "0006_changes.sql";

/** The function that makes changes, with other pieces. @throws Error when a piece does not occur exactly once */
function changeMessagesWith(...pieces: readonly (readonly [from: string, to: string])[]): string {
  const source = readFileSync(join(ROOT, "sql", CHANGES_SQL), "utf8");
  let text = source.slice(source.indexOf("create function change_messages")).replace("create", "create or replace");
  for (const [from, to] of pieces) text = replaceOnce(text, from, to, `sql/${CHANGES_SQL}`);
  return text;
}

/** Changes to the database that a mutant needs. */
export const MUTANT_SQL: Partial<Record<MutantName, () => string>> = {
  no_unique_ref: () => "drop index messages_ref",
  changes_after_deletion: () =>
    changeMessagesWith([
      "when message.deleted_at is not null then",
      "when message.deleted_at is not null and change.kind = 'delete' then",
    ]),
  no_change_refs: () =>
    changeMessagesWith(
      ["when made.ref is not null then", "when false then"],
      ["if not found then result := 'ref_reused'", "if false then result := 'ref_reused'"],
    ),
};

const ROOT = join(import.meta.dir, "..", "..");
const SOURCES = join(ROOT, "src");

/** @returns the source of a file with the mutant @throws Error when the piece does not occur exactly once */
export function mutated(name: MutantName, file: string, source: string): string {
  let text = source;
  for (const { from, to } of CHANGES[name].filter((change) => change.file === file)) {
    text = replaceOnce(text, from, to, `src/${file}`);
  }
  return text;
}

function replaceOnce(text: string, from: string, to: string, path: string): string {
  const count = text.split(from).length - 1;
  if (count !== 1) throw new Error(`A mutant is outdated: its piece occurs ${count} times in ${path}: ${from}`);
  return text.replace(from, () => to);
}

/** The files that a mutant changes. */
export function mutatedFiles(name: MutantName): string[] {
  return [...new Set(CHANGES[name].map(({ file }) => file))];
}

const chosen = Bun.env["CHAOS_MUTANT"] as MutantName | undefined;
if (chosen) {
  for (const file of mutatedFiles(chosen)) {
    const path = join(SOURCES, file);
    const contents = mutated(chosen, file, readFileSync(path, "utf8")); // now: it must fail even if nothing loads the file
    Bun.plugin({
      name: `mutant ${chosen} in ${file}`,
      setup(build) {
        build.onLoad({ filter: new RegExp(`${RegExp.escape(path)}$`) }, () => ({ contents, loader: "ts" }));
      },
    });
  }
}
