/**
 * Devices on one pod of users whose frames are sent to the other. What they receive has crossed the bus, and must be
 * true: no invented user, no invented message.
 */

import { connect } from "../../src/db/client.ts";
import { Problems } from "../bench/load/audit.ts";
import { SocketClient } from "../bench/load/socket.ts";
import { cookieOf, nameOf } from "../support/users.ts";
import { type ChangedRow, type Oracle, show, stateOf } from "./oracle.ts";

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
  /** Versions of changed messages, by id and revision. */
  readonly #changes = new Map<string, ChangedRow>();
  /** Names in frames, which must have accounts. */
  readonly #named = new Set<string>();
  readonly #typing = new Set<string>();
  #closing = false;

  /** Messages received from the other pod. */
  get messageCount(): number {
    return this.#messages.size;
  }

  /** Versions of changed messages received from the other pod. */
  get changeCount(): number {
    return this.#changes.size;
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

  /**
   * Compares what was received with the tables, and with what was acknowledged where the tables no longer have it.
   *
   * @param typists the only users who send typing frames
   */
  async audit(url: string, typists: ReadonlySet<string>, oracle: Oracle): Promise<string[]> {
    const sql = connect(url, { name: "fuzz-observers" });
    const problems = this.#problems;
    try {
      const ids = [...this.#messages.keys(), ...this.#changes.values().map(({ id }) => id)];
      const rows = await sql<(ChangedRow & { isEdited: boolean; revision: number | null })[]>`
        select
          id, sender, receiver, content, seq, revision, edited_at is not null or deleted_at is not null as "isEdited"
        from messages
        where id = any(${ids}::bigint[])
      `;
      const stored = new Map(rows.map((row) => [row.id, row]));
      for (const [id, message] of this.#messages) {
        const row = stored.get(id);
        const content = row?.isEdited ? (oracle.ack(id)?.message ?? message.message) : row?.content;
        const expected = row && { from: row.sender, to: row.receiver, message: content, seq: row.seq };
        const [received, is] = [message, expected ?? null].map((value) => show(JSON.stringify(value)));
        if (!Bun.deepEquals(expected, message)) problems.add(`message ${id} is ${is}, received as ${received}`);
      }
      for (const change of this.#changes.values()) {
        const { id, sender, receiver, content, seq, revision = 0 } = change;
        const row = stored.get(id);
        const isSame = row?.sender === sender && row.receiver === receiver && row.seq === seq;
        const isNewer = (row?.revision ?? 0) > revision;
        if (!isSame || (!isNewer && (row.revision !== revision || row.content !== content)))
          problems.add(
            `the change ${show(JSON.stringify(change))} was received, and the message is ${show(JSON.stringify(row ?? null))}`,
          );
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
      case "changed":
        return this.#receiveChange(name, frame);
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

  #receiveChange(name: string, frame: Record<string, unknown>): void {
    const { peer, revision, message, ref } = frame as {
      peer: string;
      revision: number;
      message: ChangedRow;
      ref?: string;
    };
    const shown = show(JSON.stringify(frame));
    const isTheirs = [message.sender, message.receiver].toSorted().join("\n") === [name, peer].toSorted().join("\n");
    if (ref !== undefined) this.#problems.add(`the observer of ${name}, which asked for nothing, received ${shown}`);
    if (!isTheirs || revision !== message.revision || revision < 1)
      this.#problems.add(`the observer of ${name} received ${shown}`);
    const key = `${message.id} ${revision}`;
    const known = this.#changes.get(key);
    if (!known) this.#changes.set(key, message);
    else if (stateOf(known) !== stateOf(message))
      this.#problems.add(`revision ${revision} of message ${message.id} was received in two versions`);
    this.#addNames(peer, message.sender, message.receiver, ...Object.keys(message.reactions ?? {}));
  }

  #addNames(...names: unknown[]): void {
    for (const name of names) this.#named.add(String(name));
  }
}
