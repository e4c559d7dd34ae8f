/**
 * An open tab: the page's own chat, outbox, connection and conversations, and a client of changes, on a recording
 * socket and an in-memory store. Unlike a browser it knows the pods' addresses, and tries another after a failure, as
 * through a load balancer.
 */

import { type Chat, createChat } from "../../static/js/chat_model.js";
import type { Conversation } from "../../static/js/store/conversation.js";
import type { Pending } from "../../static/js/store/pending.js";
import { type Row, type Stored, toMessage } from "../../static/js/sync/api.js";
import { Connection } from "../../static/js/sync/connection.js";
import { Outbox } from "../../static/js/sync/outbox.js";
import { ChangeClient, type PendingChange } from "./change_client.ts";
import { hashOf, type ObservedMessage, type Recorder, stateOf } from "./history.ts";
import type { Random } from "./random.ts";

/** The page backs off up to 30 s, which is too long for a run. */
const BACKOFF_MAX_MS = 5_000;
const RETRY_SHOW_MS = 500;

export interface PageEnvironment {
  readonly history: Recorder;
  readonly random: Random;
  /** Ports of the pods, some of which may be down. */
  readonly ports: readonly number[];
}

/** What a browser has stored of unanswered messages and changes, by ref. It outlives the page. */
export class PendingStore {
  readonly messages = new Map<string, Pending>();
  /** Of messages that are replies: the `seq` that they answer. */
  readonly replies = new Map<string, number>();
  readonly changes = new Map<string, PendingChange>();
}

let sockets = 0;

export class Page {
  readonly name: string;
  readonly user: string;
  readonly chat: Chat;
  readonly pending: PendingStore;
  readonly changes: ChangeClient;
  readonly #cookie: string;
  readonly #environment: PageEnvironment;
  readonly #outbox: Outbox;
  readonly #connection: Connection;
  readonly #contiguous = new Map<string, number>();
  readonly #retrying = new Set<string>();
  /** The pod it is connected to, or tries next. */
  #pod: number;
  #socket: RecordingSocket | undefined;
  /** Of the message that is being written. */
  #replyTo: number | undefined;
  #closed = false;

  /**
   * @param options.name unique for each opening
   * @param options.pending left by an earlier page of this browser
   */
  constructor(
    options: { name: string; user: string; cookie: string; pod: number; pending?: PendingStore },
    environment: PageEnvironment,
  ) {
    this.name = options.name;
    this.user = options.user;
    this.pending = options.pending ?? new PendingStore();
    this.#cookie = options.cookie;
    this.#pod = options.pod % environment.ports.length;
    this.#environment = environment;
    environment.history.add({ e: "page", page: this.name, user: this.user });
    const store = {
      load: () => [...this.pending.messages.values()],
      put: (_ref: string, message: Pending) => this.#store(message),
      remove: (ref: string) => void this.pending.messages.delete(ref),
      wipe: () => this.pending.messages.clear(),
    };
    this.#outbox = new Outbox(store, { pace: null }); // the pods have no rate limits
    this.#connection = new Connection("", {
      WebSocket: this.#socketClass(),
      setTimeout: (run, ms) => setTimeout(run, this.#isBackingOff ? Math.min(ms, BACKOFF_MAX_MS) : ms),
      random: () => environment.random.next(),
    });
    this.chat = createChat(this.user, { api: this.#api(), connection: this.#connection, outbox: this.#outbox });
    this.chat.conversations.on("conversation", (peer) => this.#changed(peer));
    this.changes = this.#changeClient();
  }

  /** Connects and opens these conversations. */
  open(peers: readonly string[]): void {
    this.chat.sync.start();
    for (const peer of peers) this.chat.conversations.show(peer);
    this.chat.people.presence.watch([...peers]);
  }

  get connected(): boolean {
    return this.#connection.state === "open";
  }

  /** Messages and changes without an answer. */
  get pendingCount(): number {
    return this.#outbox.size + this.changes.pendingCount;
  }

  /** The index of its pod. */
  get pod(): number {
    return this.#pod;
  }

  conversation(peer: string): Conversation {
    return this.chat.conversations.getOrCreate(peer);
  }

  /** @param replyTo the `seq` of the message that it answers @returns false when too many messages are pending */
  write(peer: string, text: string, replyTo?: number): boolean {
    this.#replyTo = replyTo; // the page stores a message before it sends it
    const isQueued = this.chat.sync.write(peer, text);
    this.#replyTo = undefined;
    return isQueued;
  }

  /** The loaded messages as displayed. */
  displayed(peer: string): (readonly [seq: number, state: string, revision: number])[] {
    return this.conversation(peer)
      .messages()
      .map(({ seq, text }) => {
        const version = this.changes.version(peer, seq);
        return [seq, version ? stateOf(version) : hashOf(text), version?.revision ?? 0] as const;
      });
  }

  /** Fetches the list: the page does not know yet that a deleted message is no longer unread. */
  async refreshUnread(): Promise<void> {
    this.#connection.emit("frame", { type: "sync" });
    await this.chat.sync.resume();
  }

  /** Reopens a conversation that the page has unloaded. @returns whether it is loaded */
  show(peer: string): boolean {
    const { isLoaded } = this.conversation(peer);
    if (!isLoaded && !this.#closed) this.chat.conversations.show(peer);
    return isLoaded;
  }

  /** Marks everything displayed of a peer as read. */
  markRead(peer: string): void {
    this.show(peer);
    const { contiguousSeq } = this.conversation(peer);
    if (contiguousSeq > 0) this.chat.sync.markRead(peer, contiguousSeq);
  }

  /** Closes the tab; unsent messages stay in `pending`. */
  close(): void {
    this.#closed = true;
    this.changes.close();
    this.#connection.end();
  }

  get #isBackingOff(): boolean {
    return (
      this.#connection.state === "connecting" && (this.#socket?.readyState ?? WebSocket.CLOSED) >= WebSocket.CLOSING
    );
  }

  #store(message: Pending): void {
    const { messages, replies } = this.pending;
    if (!messages.has(message.ref)) {
      const { ref, peer, text } = message;
      const replyTo = this.#replyTo;
      if (replyTo !== undefined) replies.set(ref, replyTo);
      const reply = replyTo === undefined ? {} : { replyTo };
      this.#environment.history.add({ e: "write", user: this.user, to: peer, ref, hash: hashOf(text), ...reply });
    }
    messages.set(message.ref, message);
  }

  #changeClient(): ChangeClient {
    const { history } = this.#environment;
    const client = new ChangeClient({
      user: this.user,
      pending: this.pending.changes,
      send: (frame) => this.#connection.send(frame as Record<string, unknown>),
      revisions: async () => {
        const rows = await this.#conversations({ limit: 50 });
        return new Map(rows.map(({ peer, revision }) => [peer, revision]));
      },
      changedAfter: async (peer, after, limit) => {
        const page = query({ changed_after: after, limit });
        const rows = (await this.#get<StoredRow[]>(`/messages/${this.user}/${peer}?${page}`)).map(observedOf);
        history.add({ e: "changes", page: this.name, peer, after, rows });
        return rows;
      },
      onAsked: (change) => history.add({ e: "change", ...change }),
      onRevised: (peer, revision) => history.add({ e: "revised", page: this.name, peer, revision }),
    });
    this.#connection.on("frame", ({ type, peer, message, ref, code }) => {
      if (type === "hello") client.connected();
      else if (type === "sync") void client.heal();
      else if (type === "changed") client.receive(peer, observedOf(message), ref);
      else if (type === "error" && ref) client.rejected(ref, code);
    });
    return client;
  }

  #changed(peer: string): void {
    const { contiguousSeq, isLoaded } = this.conversation(peer);
    if (!isLoaded) this.#retryShow(peer);
    if (this.#closed || contiguousSeq <= (this.#contiguous.get(peer) ?? 0)) return;
    this.#contiguous.set(peer, contiguousSeq);
    this.#environment.history.add({ e: "contiguous", page: this.name, peer, seq: contiguousSeq });
  }

  /** Retries a conversation whose first page failed to load. */
  #retryShow(peer: string): void {
    if (this.#retrying.has(peer)) return;
    this.#retrying.add(peer);
    setTimeout(() => {
      this.#retrying.delete(peer);
      if (this.connected) this.show(peer);
    }, RETRY_SHOW_MS);
  }

  /** Chooses another pod, as a load balancer would. */
  #changePod(): void {
    const { ports, random } = this.#environment;
    if (ports.length > 1) this.#pod = (this.#pod + 1 + random.below(ports.length - 1)) % ports.length;
  }

  /** The `WebSocket` of `Connection`. */
  #socketClass(): typeof WebSocket {
    const open = () => {
      const port = this.#environment.ports[this.#pod] as number;
      const options = {
        url: `ws://127.0.0.1:${port}/ws/${this.user}`,
        cookie: this.#cookie,
        page: this.name,
        pod: this.#pod,
        lost: () => this.#changePod(),
        replyTo: (ref: string) => this.pending.replies.get(ref),
      };
      return (this.#socket = new RecordingSocket(options, this.#environment.history));
    };
    return function Socket() {
      return open();
    } as unknown as typeof WebSocket;
  }

  #api() {
    return {
      fetchUsername: async () => (await this.#get<{ username: string }>("/me")).username,
      blocks: async () => [],
      unread: async () => ({}), // only pages with many conversations need it
      arrange: async () => ({}), // not used in these runs
      block: async () => {},
      people: (prefix: string) =>
        this.#get<{ username: string }[]>(`/get_users?q=${encodeURIComponent(prefix)}&limit=20&profiles=1`),
      list: async (page: { limit: number; before?: string | undefined }) => ({
        rows: await this.#conversations(page),
        archived: 0,
      }),
      conversations: (page: { limit: number; before?: string | undefined }): Promise<Row[]> =>
        this.#conversations(page),
      messages: async (me: string, peer: string, page: MessageQuery): Promise<Stored[]> => {
        const rows = await this.#get<StoredRow[]>(`/messages/${me}/${peer}?peek=1&${query(page)}`);
        const observed = rows.map(observedOf);
        const { changed_after: after } = page;
        const kind = after === undefined ? ({ e: "history" } as const) : ({ e: "changes", after } as const);
        this.#environment.history.add({ ...kind, page: this.name, peer, rows: observed });
        for (const row of observed) this.changes.observe(peer, row);
        // A deleted message may not have been read.
        return rows.map((row) => ({ read: row.read && !row.deleted, message: toMessage(row, this.user) }));
      },
    };
  }

  async #conversations(page: { limit: number; before?: string | undefined }): Promise<ListedRow[]> {
    const { history } = this.#environment;
    const requestedAt = history.now;
    const rows = await this.#get<ListedRow[]>(`/conversations?${query(page)}`);
    for (const row of rows) history.add({ e: "summary", page: this.name, requestedAt, ...summaryOf(row) });
    return rows;
  }

  /** Without a deadline, as the page's. A pod that refuses is left for another. */
  async #get<T>(path: string): Promise<T> {
    if (this.#closed) throw new Error("The page is closed");
    const pod = this.#pod;
    try {
      const response = await fetch(`http://127.0.0.1:${this.#environment.ports[pod]}${path}`, {
        headers: { accept: "application/json", cookie: this.#cookie },
      });
      if (!response.ok) throw new Error(`${path} was answered ${response.status}`);
      const body = (await response.json()) as T;
      if (this.#closed) throw new Error("The page is closed");
      return body;
    } catch (error) {
      if (pod === this.#pod && !this.connected) this.#changePod();
      throw error;
    }
  }
}

type ListedRow = Row & { readonly revision: number };

/** Of `/messages`; a page of a run never asks `at` an instant. */
type MessageQuery = {
  readonly limit: number;
  readonly before?: number;
  readonly after?: number;
  readonly changed_after?: number;
};

interface StoredRow {
  readonly sender: string;
  readonly receiver: string;
  readonly content: string;
  readonly timestamp: string;
  readonly read: boolean;
  readonly id: number;
  readonly seq: number;
  readonly ref?: string;
  readonly reply_to?: number;
  readonly revision?: number;
  readonly edited_at?: string;
  readonly deleted?: true;
  readonly reactions?: Readonly<Record<string, string>>;
}

/** A message of the JSON routes, for the history. */
export function observedOf(row: Omit<StoredRow, "timestamp" | "read">): ObservedMessage {
  const { sender, receiver, id, seq, content, ref, reply_to: replyTo, edited_at, deleted, reactions, revision } = row;
  return {
    from: sender,
    to: receiver,
    id,
    seq,
    hash: hashOf(content),
    ...(ref !== undefined && { ref }),
    ...(replyTo !== undefined && { replyTo }),
    ...(revision !== undefined && { revision }),
    ...(edited_at !== undefined && { edited: true as const }),
    ...(deleted !== undefined && { deleted }),
    ...(reactions !== undefined && { reactions }),
  };
}

function summaryOf(row: ListedRow) {
  const { peer, revision, unread, last_seq: last, my_read_seq: read, peer_read_seq: peerRead } = row;
  return { peer, last, revision, unread, read, peerRead, peerDelivered: row.peer_delivered_seq };
}

function query(values: Record<string, string | number | undefined>): URLSearchParams {
  const given = Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]]));
  return new URLSearchParams(given);
}

interface Frame {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** A WebSocket that records each frame in the history before its page receives it. */
export class RecordingSocket extends EventTarget {
  readonly #socket: WebSocket;
  readonly #history: Recorder;
  readonly #number = ++sockets;
  readonly #page: string;
  readonly #pod: number;
  readonly #replyTo: (ref: string) => number | undefined;
  #opened = false;
  #closed = false;

  /** @param options.replyTo the `seq` that a message answers, which the page does not send yet */
  constructor(
    options: {
      url: string;
      cookie: string;
      page: string;
      pod: number;
      lost: () => void;
      replyTo?: (ref: string) => number | undefined;
    },
    history: Recorder,
  ) {
    super();
    this.#history = history;
    this.#page = options.page;
    this.#pod = options.pod;
    this.#replyTo = options.replyTo ?? (() => undefined);
    // Bun's client takes headers, which the DOM's types do not know.
    this.#socket = new WebSocket(options.url, { headers: { cookie: options.cookie } } as unknown as string[]);
    this.#socket.addEventListener("message", ({ data }) => {
      if (this.#closed) return;
      this.#record(JSON.parse(String(data)) as Frame);
      this.dispatchEvent(new MessageEvent("message", { data }));
    });
    this.#socket.addEventListener("error", () => {});
    this.#socket.addEventListener("close", ({ code }) => {
      if (this.#closed) return;
      options.lost();
      this.#close(code);
      this.dispatchEvent(new CloseEvent("close", { code }));
    });
  }

  get readyState(): number {
    return this.#closed ? WebSocket.CLOSED : this.#socket.readyState;
  }

  send(text: string): void {
    const frame = JSON.parse(text) as Frame;
    const ref = frame["ref"] as string | undefined;
    if (ref !== undefined) this.#history.add({ e: "send", socket: this.#number, ref });
    const replyTo = frame.type === "message" && ref !== undefined ? this.#replyTo(ref) : undefined;
    this.#socket.send(replyTo === undefined ? text : JSON.stringify({ ...frame, reply_to: replyTo }));
  }

  /** Later frames are ignored. */
  close(): void {
    if (this.#closed) return;
    this.#close(1000);
    this.#socket.close();
    setTimeout(() => (this.#socket as unknown as { terminate(): void }).terminate(), 1_000); // a dead peer answers no close
  }

  #close(code: number): void {
    this.#closed = true;
    if (this.#opened) this.#history.add({ e: "close", socket: this.#number, code });
  }

  #record(frame: Frame): void {
    const socket = this.#number;
    // The fields are as the protocol says, or the checker reports them.
    // oxlint-disable-next-line typescript/no-explicit-any
    const { type, from, to, message, id, seq, ref, peer, reader, duplicate, code, revision, reply_to } = frame as any;
    if (type === "hello") {
      this.#opened = true;
      this.#history.add({ e: "open", socket, page: this.#page, pod: this.#pod });
    } else if (type === "message") {
      const optional = { ...(ref && { ref }), ...(reply_to && { replyTo: reply_to }) };
      this.#history.add({ e: "message", socket, from, to, id, seq, hash: hashOf(message), ...optional });
    } else if (type === "changed") {
      this.#history.add({ e: "changed", socket, peer, revision, message: observedOf(message), ...(ref && { ref }) });
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
