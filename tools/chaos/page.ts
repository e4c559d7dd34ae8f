/**
 * An open tab: the page's own messenger, outbox, connection and conversations, as browsers run them, on a socket and a store that record what
 * happens. What is not the page's is where to connect: a list of addresses, of which a dead one is left for another.
 */

import type { Conversation } from "../../static/js/store/conversation.js";
import { Messenger } from "../../static/js/store/messenger.js";
import type { Row, Stored } from "../../static/js/sync/api.js";
import { Connection } from "../../static/js/sync/connection.js";
import { Outbox, type PendingMessage } from "../../static/js/sync/outbox.js";
import { hashOf, type ObservedMessage, type Recorder } from "./history.ts";
import type { Random } from "./random.ts";

/** The page waits up to 30 s between its tries; a run has not that much time. */
const WAIT_MAX_MS = 5_000;
const SHOW_AGAIN_MS = 500;

/** Where a page is opened. */
export interface PageEnvironment {
  readonly history: Recorder;
  readonly random: Random;
  /** Ports of the pods, some of which may be dead. */
  readonly ports: readonly number[];
}

/** What a browser keeps of unsent texts: it outlives the page. */
export type PendingMessages = Map<string, PendingMessage>;

let sockets = 0;

export class Page {
  readonly name: string;
  readonly user: string;
  readonly messenger: Messenger;
  readonly pending: PendingMessages;
  readonly #cookie: string;
  readonly #around: PageEnvironment;
  readonly #outbox: Outbox;
  readonly #connection: Connection;
  readonly #held = new Map<string, number>();
  readonly #showing = new Set<string>();
  /** The pod it is on, or tries next. */
  #pod: number;
  #socket: RecordingSocket | undefined;
  #gone = false;

  /**
   * @param options.name of the tab, different for each opening
   * @param options.pending what an earlier page of this browser left
   */
  constructor(
    options: { name: string; user: string; cookie: string; pod: number; pending?: PendingMessages },
    around: PageEnvironment,
  ) {
    this.name = options.name;
    this.user = options.user;
    this.pending = options.pending ?? new Map<string, PendingMessage>();
    this.#cookie = options.cookie;
    this.#pod = options.pod % around.ports.length;
    this.#around = around;
    around.history.add({ e: "page", page: this.name, user: this.user });
    const store = {
      load: () => [...this.pending.values()],
      put: (draft: PendingMessage) => this.#keep(draft),
      remove: (ref: string) => void this.pending.delete(ref),
      wipe: () => this.pending.clear(),
    };
    this.#outbox = new Outbox(store, { pace: null }); // the pods have no limits, and are to be met by all at once
    this.#connection = new Connection("", {
      WebSocket: this.#socketClass(),
      setTimeout: (run, ms) => setTimeout(run, this.#waitsToComeBack ? Math.min(ms, WAIT_MAX_MS) : ms),
      random: () => around.random.next(),
    });
    this.messenger = new Messenger(this.user, { api: this.#api(), connection: this.#connection, outbox: this.#outbox });
    this.messenger.addEventListener("thread", (event) => this.#changed((event as CustomEvent<string>).detail));
  }

  /** Connects, and has these conversations on screen, one after the other. */
  open(peers: readonly string[]): void {
    this.messenger.start();
    for (const peer of peers) this.messenger.show(peer);
    this.messenger.presence.watch([...peers]);
  }

  get connected(): boolean {
    return this.#connection.state === "open";
  }

  /** Texts not yet settled. */
  get waiting(): number {
    return this.#outbox.size;
  }

  /** The pod of its socket, by its place in the list of ports. */
  get pod(): number {
    return this.#pod;
  }

  conversation(peer: string): Conversation {
    return this.messenger.conversation(peer);
  }

  /** @returns false when too much waits already */
  write(peer: string, text: string): boolean {
    return this.messenger.write(peer, text);
  }

  /** Has a conversation on screen that the page has let go of. @returns whether it is loaded */
  show(peer: string): boolean {
    const { loaded } = this.conversation(peer);
    if (!loaded && !this.#gone) this.messenger.show(peer);
    return loaded;
  }

  /** Everything of a peer that is on screen was looked at. */
  look(peer: string): void {
    this.show(peer);
    const { contiguousSeq } = this.conversation(peer);
    if (contiguousSeq > 0) this.messenger.seen(peer, contiguousSeq);
  }

  /** The tab is closed; what was not sent stays with the browser. */
  close(): void {
    this.#gone = true;
    this.#connection.end();
  }

  get #waitsToComeBack(): boolean {
    return (
      this.#connection.state === "connecting" && (this.#socket?.readyState ?? WebSocket.CLOSED) >= WebSocket.CLOSING
    );
  }

  #keep(draft: PendingMessage): void {
    if (!this.pending.has(draft.ref)) {
      const { ref, peer, text } = draft;
      this.#around.history.add({ e: "write", user: this.user, to: peer, ref, hash: hashOf(text) });
    }
    this.pending.set(draft.ref, draft);
  }

  #changed(peer: string): void {
    const { contiguousSeq, loaded } = this.conversation(peer);
    if (!loaded) this.#showSoon(peer);
    if (this.#gone || contiguousSeq <= (this.#held.get(peer) ?? 0)) return;
    this.#held.set(peer, contiguousSeq);
    this.#around.history.add({ e: "contiguous", page: this.name, peer, seq: contiguousSeq });
  }

  /** A conversation whose first page did not come is opened again by whoever waits for it. */
  #showSoon(peer: string): void {
    if (this.#showing.has(peer)) return;
    this.#showing.add(peer);
    setTimeout(() => {
      this.#showing.delete(peer);
      if (this.connected) this.show(peer);
    }, SHOW_AGAIN_MS);
  }

  /** Another pod, as a load balancer would give. */
  #turnAway(): void {
    const { ports, random } = this.#around;
    if (ports.length > 1) this.#pod = (this.#pod + 1 + random.below(ports.length - 1)) % ports.length;
  }

  /** What `Connection` makes sockets with. */
  #socketClass(): typeof WebSocket {
    const open = () => {
      const port = this.#around.ports[this.#pod] as number;
      const options = {
        url: `ws://127.0.0.1:${port}/ws/${this.user}`,
        cookie: this.#cookie,
        page: this.name,
        pod: this.#pod,
        lost: () => this.#turnAway(),
      };
      return (this.#socket = new RecordingSocket(options, this.#around.history));
    };
    return function Socket() {
      return open();
    } as unknown as typeof WebSocket;
  }

  #api() {
    return {
      me: async () => (await this.#get<{ username: string }>("/me")).username,
      blocks: async () => [],
      unread: async () => ({}), // nobody here has so many conversations
      mute: async () => {}, // the pages of these runs never do
      block: async () => {},
      people: (prefix: string) => this.#get<string[]>(`/get_users?q=${encodeURIComponent(prefix)}&limit=20`),
      conversations: async (page: { limit: number; before?: string | undefined }): Promise<Row[]> => {
        const rows = await this.#get<Row[]>(`/conversations?${query(page)}`);
        for (const row of rows) this.#around.history.add({ e: "summary", page: this.name, ...standing(row) });
        return rows;
      },
      messages: async (me: string, peer: string, page: Record<string, number>): Promise<Stored[]> => {
        const rows = await this.#get<StoredRow[]>(`/messages/${me}/${peer}?peek=1&${query(page)}`);
        this.#around.history.add({ e: "history", page: this.name, peer, rows: rows.map(toldOf) });
        return rows.map((row) => ({
          read: row.read,
          message: {
            seq: row.seq,
            id: row.id,
            from: row.sender,
            to: row.receiver,
            text: row.content,
            at: Date.parse(row.timestamp),
            ...(row.ref === undefined ? {} : { ref: row.ref }),
          },
        }));
      },
    };
  }

  /** As the page does: no deadline. A pod that refuses is left for another, a pod that is silent is waited for. */
  async #get<T>(path: string): Promise<T> {
    if (this.#gone) throw new Error("The page is closed");
    const pod = this.#pod;
    try {
      const answer = await fetch(`http://127.0.0.1:${this.#around.ports[pod]}${path}`, {
        headers: { accept: "application/json", cookie: this.#cookie },
      });
      if (!answer.ok) throw new Error(`${path} was answered ${answer.status}`);
      const body = (await answer.json()) as T;
      if (this.#gone) throw new Error("The page is closed");
      return body;
    } catch (error) {
      if (pod === this.#pod && !this.connected) this.#turnAway();
      throw error;
    }
  }
}

interface StoredRow {
  readonly sender: string;
  readonly receiver: string;
  readonly content: string;
  readonly timestamp: string;
  readonly read: boolean;
  readonly id: number;
  readonly seq: number;
  readonly ref?: string;
}

/** A message of the JSON routes, as the history has it. */
export function toldOf({
  sender,
  receiver,
  id,
  seq,
  content,
  ref,
}: Omit<StoredRow, "timestamp" | "read">): ObservedMessage {
  return { from: sender, to: receiver, id, seq, hash: hashOf(content), ...(ref === undefined ? {} : { ref }) };
}

function standing(row: Row) {
  const { peer, last_seq: last, unread, my_read_seq: read, peer_read_seq: peerRead, peer_delivered_seq } = row;
  return { peer, last, unread, read, peerRead, peerDelivered: peer_delivered_seq };
}

function query(values: Record<string, string | number | undefined>): URLSearchParams {
  const given = Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]]));
  return new URLSearchParams(given);
}

interface Frame {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** A WebSocket that tells the history what goes through it, before its page hears of it. */
export class RecordingSocket extends EventTarget {
  readonly #socket: WebSocket;
  readonly #history: Recorder;
  readonly #number = ++sockets;
  readonly #page: string;
  readonly #pod: number;
  #greeted = false;
  #closed = false;

  constructor(
    options: { url: string; cookie: string; page: string; pod: number; lost: () => void },
    history: Recorder,
  ) {
    super();
    this.#history = history;
    this.#page = options.page;
    this.#pod = options.pod;
    // Bun's client takes headers, which the DOM's types do not know.
    this.#socket = new WebSocket(options.url, { headers: { cookie: options.cookie } } as unknown as string[]);
    this.#socket.addEventListener("message", ({ data }) => {
      if (this.#closed) return;
      this.#hear(JSON.parse(String(data)) as Frame);
      this.dispatchEvent(new MessageEvent("message", { data }));
    });
    this.#socket.addEventListener("error", () => {});
    this.#socket.addEventListener("close", ({ code }) => {
      if (this.#closed) return;
      options.lost();
      this.#end(code);
      this.dispatchEvent(new CloseEvent("close", { code }));
    });
  }

  get readyState(): number {
    return this.#closed ? WebSocket.CLOSED : this.#socket.readyState;
  }

  send(text: string): void {
    const { type, ref } = JSON.parse(text) as Frame;
    if (type === "message" && ref) this.#history.add({ e: "send", socket: this.#number, ref: String(ref) });
    this.#socket.send(text);
  }

  /** The page wants no more of it: what still comes is not heard. */
  close(): void {
    if (this.#closed) return;
    this.#end(1000);
    this.#socket.close();
    setTimeout(() => (this.#socket as unknown as { terminate(): void }).terminate(), 1_000); // a dead peer answers no close
  }

  #end(code: number): void {
    this.#closed = true;
    if (this.#greeted) this.#history.add({ e: "close", socket: this.#number, code });
  }

  #hear(frame: Frame): void {
    const socket = this.#number;
    // Fields are what the contract says; if not, the checker finds them wrong.
    // oxlint-disable-next-line typescript/no-explicit-any
    const { type, from, to, message, id, seq, ref, peer, reader, duplicate, code } = frame as any;
    if (type === "hello") {
      this.#greeted = true;
      this.#history.add({ e: "open", socket, page: this.#page, pod: this.#pod });
    } else if (type === "message") {
      this.#history.add({ e: "message", socket, from, to, id, seq, hash: hashOf(message), ...(ref ? { ref } : {}) });
    } else if (type === "ack") this.#history.add({ e: "ack", socket, ref, id, seq, peer, duplicate });
    else if (type === "sync") this.#history.add({ e: "sync", socket });
    else if (type === "error" && ref) this.#history.add({ e: "rejected", socket, ref, code });
    else if (type === "read") this.#history.add({ e: "mark", socket, kind: "read", reader, peer, seq });
    else if (type === "delivered")
      this.#history.add({ e: "mark", socket, kind: "delivered", reader: peer, peer: userOf(this.#page), seq });
  }
}

/** @example userOf("p00007.2") // "p00007" */
function userOf(page: string): string {
  return page.slice(0, page.indexOf("."));
}
