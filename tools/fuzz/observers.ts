/**
 * Devices on one pod of users whose frames are sent to the other. What they receive has crossed the bus, and must be
 * true: no invented user, no invented message.
 */

import { connect } from "../../src/db/client.ts";
import { Problems } from "../bench/load/audit.ts";
import { SocketClient } from "../bench/load/socket.ts";
import { cookieOf, nameOf } from "../support/users.ts";
import { show } from "./oracle.ts";

interface Message {
  readonly from: string;
  readonly to: string;
  readonly message: string;
  readonly seq: number;
}

export class Observers {
  readonly #problems = new Problems();
  readonly #clients: SocketClient[] = [];
  readonly #messages = new Map<number, Message>();
  /** Names in frames, which must have accounts. */
  readonly #named = new Set<string>();
  readonly #typing = new Set<string>();
  #closing = false;

  /** Messages received from the other pod. */
  get messageCount(): number {
    return this.#messages.size;
  }

  /** @param watch whose presence the device watches; undefined: it gets full lists */
  async open(port: number, user: number, watch?: readonly string[]): Promise<void> {
    const name = nameOf(user);
    const received = new Set<number>();
    const client = await SocketClient.open({
      port,
      name,
      cookie: cookieOf(user),
      listener: {
        text: (text) => this.#receive({ name, received, watch }, Buffer.from(text, "latin1").toString()),
        closed: (code) => this.#closing || this.#problems.add(`the observer of ${name} was closed with ${code}`),
      },
    });
    if (watch) client.send(JSON.stringify({ type: "watch", users: watch }));
    this.#clients.push(client);
  }

  close(): void {
    this.#closing = true;
    for (const client of this.#clients) client.close();
  }

  /** Compares what was received with the tables. @param typists the only users who send typing frames */
  async audit(url: string, typists: ReadonlySet<string>): Promise<string[]> {
    const sql = connect(url, { name: "fuzz-observers" });
    const problems = this.#problems;
    try {
      const rows = await sql<{ id: number; from: string; to: string; message: string; seq: number }[]>`
        select id, sender as "from", receiver as "to", content as message, seq
        from messages
        where id = any(${[...this.#messages.keys()]}::bigint[])
      `;
      const stored = new Map(rows.map(({ id, ...row }) => [id, row]));
      for (const [id, message] of this.#messages) {
        const [received, row] = [message, stored.get(id) ?? null].map((value) => show(JSON.stringify(value)));
        if (!Bun.deepEquals(stored.get(id), message)) problems.add(`message ${id} is ${row}, received as ${received}`);
      }
      const users = new Set((await sql<{ username: string }[]>`select username from users`).map((row) => row.username));
      for (const name of this.#named)
        if (!users.has(name)) problems.add(`a frame named ${show(name)}, who has no account`);
      for (const name of this.#typing) if (!typists.has(name)) problems.add(`a frame said that ${show(name)} types`);
    } finally {
      await sql.end({ timeout: 1 });
    }
    return problems.report();
  }

  #receive(device: { name: string; received: Set<number>; watch: readonly string[] | undefined }, text: string): void {
    const { name, received, watch } = device;
    const frame = JSON.parse(text) as Record<string, unknown> & { type: string };
    switch (frame.type) {
      case "message": {
        const { id, from, to, message, seq } = frame as unknown as Message & { id: number };
        if (received.has(id)) this.#problems.add(`the observer of ${name} received message ${id} twice`);
        received.add(id);
        const known = this.#messages.get(id);
        if (!known) this.#messages.set(id, { from, to, message, seq });
        else if (!Bun.deepEquals(known, { from, to, message, seq }))
          this.#problems.add(`message ${id} was received in two versions`);
        return;
      }
      case "typing":
        return void this.#typing.add(String(frame["user"]));
      case "read":
        return this.#addNames(frame["reader"], frame["peer"]);
      case "delivered":
      case "draft":
        return this.#addNames(frame["peer"]);
      case "new_user":
        return this.#addNames(frame["username"]);
      case "status_update":
        return this.#addNames(...(frame["online"] as string[]));
      case "presence":
        for (const user of Object.keys(frame["users"] as object))
          if (!watch?.includes(user))
            this.#problems.add(`${name} received the presence of ${show(user)}, whom it does not watch`);
        return;
      case "hello":
      case "sync":
        return;
      default:
        this.#problems.add(`the observer of ${name}, which sent nothing, received ${show(text)}`);
    }
  }

  #addNames(...names: unknown[]): void {
    for (const name of names) this.#named.add(String(name));
  }
}
