/**
 * Devices on one pod of people whose frames arrive at another: whatever reaches them crossed the bus, and must be true. Nobody they hear of
 * may be invented, and no message.
 */

import { connect } from "../../src/db/client.ts";
import { Problems } from "../bench/load/audit.ts";
import { SocketClient } from "../bench/load/socket.ts";
import { cookieOf, nameOf } from "../support/users.ts";
import { show } from "./oracle.ts";

interface HeardMessage {
  readonly from: string;
  readonly to: string;
  readonly message: string;
  readonly seq: number;
}

export class Observers {
  readonly #problems = new Problems();
  readonly #clients: SocketClient[] = [];
  readonly #messages = new Map<number, HeardMessage>();
  /** Names in frames, which must have accounts. */
  readonly #named = new Set<string>();
  /** Names that somebody was said to type under. */
  readonly #typing = new Set<string>();
  #closing = false;

  /** How much reached them from the other pod. */
  get counts() {
    return { messages: this.#messages.size, typing: this.#typing.size, named: this.#named.size };
  }

  /** @param watch whose presence the device follows; undefined: it gets full lists */
  async open(port: number, person: number, watch?: readonly string[]): Promise<void> {
    const name = nameOf(person);
    const own = new Set<number>();
    const client = await SocketClient.open({
      port,
      name,
      cookie: cookieOf(person),
      listener: {
        text: (text) => this.#hear(name, own, watch, Buffer.from(text, "latin1").toString()),
        closed: (code) => this.#closing || this.#problems.add(`${name}'s other device was closed with ${code}`),
      },
    });
    if (watch) client.send(JSON.stringify({ type: "watch", users: watch }));
    this.#clients.push(client);
  }

  close(): void {
    this.#closing = true;
    for (const client of this.#clients) client.close();
  }

  /** Holds what was heard against the tables. @param canaries the only ones who type */
  async audit(url: string, canaries: ReadonlySet<string>): Promise<string[]> {
    const sql = connect(url, { name: "fuzz-observers" });
    try {
      const rows = await sql<{ id: number; from: string; to: string; message: string; seq: number }[]>`
        select id, sender as "from", receiver as "to", content as message, seq
        from messages
        where id = any(${[...this.#messages.keys()]}::bigint[])
      `;
      const stored = new Map(rows.map(({ id, ...row }) => [id, row]));
      for (const [id, heard] of this.#messages) {
        if (!Bun.deepEquals(stored.get(id), heard))
          this.#problems.add(`message ${id} was shown as ${show(JSON.stringify(heard))}, and is ${show(JSON.stringify(stored.get(id) ?? null))}`); // prettier-ignore
      }
      const users = new Set((await sql<{ username: string }[]>`select username from users`).map((row) => row.username));
      for (const name of this.#named)
        if (!users.has(name)) this.#problems.add(`${show(name)} was heard of, and is nobody`);
      for (const name of this.#typing) if (!canaries.has(name)) this.#problems.add(`${show(name)} was said to type`);
    } finally {
      await sql.end({ timeout: 1 });
    }
    return this.#problems.report();
  }

  #hear(name: string, own: Set<number>, watch: readonly string[] | undefined, text: string): void {
    const frame = JSON.parse(text) as Record<string, unknown> & { type: string };
    switch (frame.type) {
      case "message": {
        const { id, from, to, message, seq } = frame as unknown as HeardMessage & { id: number };
        if (own.has(id)) this.#problems.add(`${name}'s other device got message ${id} twice`);
        own.add(id);
        const known = this.#messages.get(id);
        if (!known) this.#messages.set(id, { from, to, message, seq });
        else if (!Bun.deepEquals(known, { from, to, message, seq }))
          this.#problems.add(`message ${id} was shown in two ways`);
        return;
      }
      case "typing":
        return void this.#typing.add(String(frame["user"]));
      case "read":
        return this.#name(frame["reader"], frame["peer"]);
      case "delivered":
      case "draft":
        return this.#name(frame["peer"]);
      case "new_user":
        return this.#name(frame["username"]);
      case "status_update":
        return this.#name(...(frame["online"] as string[]));
      case "presence":
        for (const user of Object.keys(frame["users"] as object))
          if (!watch?.includes(user)) this.#problems.add(`${name} was told of ${show(user)}, whom it does not watch`);
        return;
      case "hello":
      case "sync":
        return;
      default:
        this.#problems.add(`${name}'s other device, which said nothing, heard ${show(text)}`);
    }
  }

  #name(...names: unknown[]): void {
    for (const name of names) this.#named.add(String(name));
  }
}
