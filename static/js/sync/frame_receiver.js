/** Applies the server's frames to the stores. */

import { Emitter } from "../util/emitter.js";

/** @import { Frame } from "./connection.js" */
/** @import { Conversation, Message } from "../store/conversation.js" */

/**
 * - `hello`: the server is connected; its epoch and the version of its pages
 * - `gap`: messages of a conversation may be missing
 * - `contradicted`: the server's messages are not those loaded
 * - `sync`: frames may have been lost
 * - `limited`: the server rejected a frame other than a message because of its rate limit; seconds until it accepts one
 * @extends {Emitter<{
 *   hello: { epoch: string, version: string }, gap: Conversation, contradicted: void, sync: void, limited: number,
 * }>}
 */
export class FrameReceiver extends Emitter {
  #me;
  #conversations;
  #people;
  #outbox;

  /**
   * @param {string} me
   * @param {import("../chat_model.js").Parts} parts
   */
  constructor(me, { conversations, people, outbox }) {
    super();
    this.#me = me;
    this.#conversations = conversations;
    this.#people = people;
    this.#outbox = outbox;
  }

  /** @param {Frame} frame */
  receive(frame) {
    const { presence } = this.#people;
    switch (frame.type) {
      case "hello":
        return this.emit("hello", { epoch: frame.epoch, version: frame.version });
      case "message":
        return this.#receiveMessage(this.#fromFrame(frame));
      case "ack":
        return this.#receiveAck(frame);
      case "error":
        if (frame.ref) this.#outbox.reject(frame.ref, frame.code, frame.retry_after);
        else if (frame.code === "rate_limited") this.emit("limited", frame.retry_after ?? 1);
        return;
      case "delivered":
        return this.#conversations.update(frame.peer, (each) => each.readState.raisePeer({ delivered: frame.seq }));
      case "read":
        return this.#receiveRead(frame);
      case "typing":
        return presence.startedTyping(frame.user);
      case "presence":
        return presence.update(frame.users);
      case "new_user":
        return this.#people.add(frame.username);
      case "sync":
        this.emit("sync");
    }
  }

  /** @param {Frame} frame @returns {Message} */
  #fromFrame({ seq, id, from, to, message, timestamp, ref }) {
    return {
      seq,
      id,
      from,
      to,
      text: message,
      at: Date.parse(timestamp),
      ...(ref && from === this.#me ? { ref } : {}),
    };
  }

  /** @param {Message} message */
  #receiveMessage(message) {
    const isMine = message.from === this.#me;
    const { seq, at, id, ref } = message;
    const peer = isMine ? message.to : message.from;
    if (this.#conversations.getOrCreate(peer).differs({ seq, at, id })) this.emit("contradicted");
    if (ref) this.#outbox.remove(ref);
    if (!isMine) this.#people.presence.stoppedTyping(peer);
    if (this.#conversations.receive(peer, message)) this.emit("gap", this.#conversations.getOrCreate(peer));
  }

  /** @param {Frame} ack */
  #receiveAck({ ref, id, seq, timestamp, peer }) {
    const pending = this.#outbox.remove(ref);
    if (!pending) return;
    this.#receiveMessage({ seq, id, from: this.#me, to: peer, text: pending.text, at: Date.parse(timestamp), ref });
  }

  /**
   * @param {Frame} frame the peer has read the user's messages, or the user the peer's on another device
   */
  #receiveRead({ reader, peer, seq }) {
    if (peer === this.#me) {
      this.#conversations.update(reader, (conversation) => conversation.readState.raisePeer({ read: seq }));
      return;
    }
    this.#conversations.readElsewhere(peer, seq);
    const conversation = this.#conversations.getOrCreate(peer);
    // Read in part: only the server can count the rest of messages that are not loaded.
    if (conversation.unread > 0 && !conversation.isLoaded) this.emit("gap", conversation);
  }
}
