/** The model of the chat page with a server and a socket that the test controls. */

import { createChat } from "../../static/js/chat_model.js";
import type { Message } from "../../static/js/store/conversation.js";
import type { Arrangement } from "../../static/js/store/membership.js";
import type { OfflineCache } from "../../static/js/store/offline_cache.js";
import type { Pending } from "../../static/js/store/pending.js";
import type { Row, Stored } from "../../static/js/sync/api.js";
import type { Frame, State } from "../../static/js/sync/connection.js";
import { Outbox } from "../../static/js/sync/outbox.js";
import { Emitter } from "../../static/js/util/emitter.js";

/** The socket: the test speaks for the server. */
export class Wire extends Emitter<{ frame: Frame; state: State; refused: number | undefined }> {
  state: State = "connecting";
  sent: Frame[] = [];
  connect() {}
  probe() {}
  end() {
    this.#become("ended");
  }
  send(frame: Frame) {
    if (this.state === "open") this.sent.push(frame);
    return this.state === "open";
  }
  greet(epoch = "1") {
    this.#become("open");
    this.emit("frame", { type: "hello", username: "ann", epoch });
  }
  lose() {
    this.#become("connecting");
  }
  #become(state: State) {
    this.state = state;
    this.emit("state", state);
  }
}

export interface MessagesQuery {
  limit: number;
  before?: number;
  after?: number;
  changed_after?: number;
}

export interface ListQuery {
  limit: number;
  before?: string | undefined;
  peer?: string;
}

/** The messages of ann and bob on the server, and the requests it received. */
export class Server {
  texts: { from: string; text: string; ref?: string; change?: Partial<Message> }[] = [];
  revision = 0;
  myRead = 0;
  asked: string[] = [];
  fetchUsername = async () => "ann";
  people = async () => [{ username: "bob" }];
  blocks = async (): Promise<string[]> => [];
  unread = async (): Promise<Record<string, number>> => ({});
  muted = false;
  refuses = false;
  arranged = 0;
  arrange = async (_name: string, changes: Arrangement) => {
    if (this.refuses) throw new TypeError("Failed to fetch");
    this.muted = changes.muted ?? this.muted;
    return { muted: this.muted, settings_revision: ++this.arranged };
  };
  list = async ({ archived, ...page }: ListQuery & { archived: 0 | 1 }) => ({
    rows: archived ? [] : await this.conversations(page),
    archived: 0,
  });
  block = async () => void (this.texts = []);
  conversations = async (_page?: ListQuery): Promise<Row[]> => {
    this.asked.push("conversations");
    const last = this.texts.at(-1);
    if (!last) return [];
    const unread = this.texts
      .slice(this.myRead)
      .filter(({ from, change }) => from === "bob" && !change?.deleted).length;
    return [
      {
        peer: "bob",
        last_seq: this.texts.length,
        last: {
          sender: last.from,
          content: last.text,
          timestamp: new Date(this.texts.length * 1000).toISOString(),
          ...(last.change?.deleted && { deleted: true }),
        },
        revision: this.revision,
        unread,
        peer_read_seq: 0,
        peer_delivered_seq: 0,
        my_read_seq: this.myRead,
        online: true,
        last_seen: null,
        muted: this.muted,
        settings_revision: this.arranged,
        cursor: "1",
      },
    ];
  };
  messages = async (_me: string, _peer: string, page: MessagesQuery) => {
    const { after, before, changed_after: changedAfter, limit } = page;
    if (changedAfter !== undefined) {
      this.asked.push(`changed after ${changedAfter}`);
      const revisionOf = ({ message }: Stored) => message.revision ?? 0;
      const changed = this.texts
        .map((_, index) => this.stored(index + 1))
        .filter((row) => revisionOf(row) > changedAfter);
      return changed.toSorted((a, b) => revisionOf(a) - revisionOf(b)).slice(0, limit);
    }
    this.asked.push(after === undefined ? (before === undefined ? "newest" : `before ${before}`) : `after ${after}`);
    const all = this.texts.map((_, index) => this.stored(index + 1));
    if (after !== undefined) return all.slice(after, after + limit);
    return all.slice(0, before === undefined ? undefined : before - 1).slice(-limit);
  };
  stored(seq: number): Stored {
    const { from, text, ref, change } = this.texts[seq - 1] ?? { from: "bob", text: "" };
    const to = from === "bob" ? "ann" : "bob";
    return {
      read: false,
      message: { seq, id: seq, from, to, text, at: seq * 1000, ...(ref ? { ref } : {}), ...change },
    };
  }
  frame(seq: number): Frame {
    const { text, at, revision: _, ...message } = this.stored(seq).message;
    return { type: "message", ...message, message: text, timestamp: new Date(at).toISOString() };
  }
  /** Edits a message, deletes it (text undefined), or reacts to it. @returns the frame of the change */
  changes(
    seq: number,
    change: { text?: string; deleted?: true; reactions?: Record<string, string> },
    ref?: string,
  ): Frame {
    const row = this.texts[seq - 1]!;
    this.revision++;
    if (change.text !== undefined || change.deleted) row.text = change.text ?? "";
    row.change = { ...row.change, ...change, text: row.text, revision: this.revision };
    if (change.text !== undefined) row.change.editedAt = 60_000;
    return this.changed(seq, ref);
  }
  changed(seq: number, ref?: string): Frame {
    const { from, to, text, at, replyTo, editedAt, ...rest } = this.stored(seq).message;
    const message = {
      ...rest,
      sender: from,
      receiver: to,
      content: text,
      timestamp: new Date(at).toISOString(),
      ...(editedAt !== undefined && { edited_at: new Date(editedAt).toISOString() }),
      ...(replyTo !== undefined && { reply_to: replyTo }),
    };
    return { type: "changed", peer: "bob", revision: rest.revision ?? 0, message, ...(ref && { ref }) };
  }
  says(from: string, ...texts: string[]) {
    for (const text of texts) this.texts.push({ from, text });
    return this.frame(this.texts.length);
  }
}

/** A page's model without a browser, and the server and the socket it talks to. */
export async function open({
  server = new Server(),
  drafts = new Map<string, Pending>(),
  cache = undefined as OfflineCache | undefined,
} = {}) {
  const wire = new Wire();
  const outbox = new Outbox({
    load: () => [...drafts.values()],
    put: (ref, draft) => void drafts.set(ref, draft),
    remove: (ref) => void drafts.delete(ref),
    wipe: () => drafts.clear(),
  });
  const chat = createChat("ann", { api: server, connection: wire as never, outbox, ...(cache && { cache }) });
  const texts = () =>
    chat.conversations
      .getOrCreate("bob")
      .messages()
      .map(({ text }) => text);
  return { server, wire, outbox, drafts, chat, texts };
}

/** Lets everything run that waits for the page only. */
export const settled = () => Bun.sleep(5);
