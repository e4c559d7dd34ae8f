/** Applies the server's frames to the stores. */

import { fileOf } from "../store/pending.js";
import { Emitter } from "../util/emitter.js";
import { toMessage } from "./api.js";

/** @import { Frame } from "./connection.js" */
/** @import { Conversation, Message } from "../store/conversation.js" */

/**
 * - `hello`: the server is connected; its epoch, the version of its pages, and its change windows
 * - `gap`: messages or changes of a conversation may be missing
 * - `unlisted`: something changed in a conversation whose row is not loaded
 * - `contradicted`: the server's messages are not those loaded
 * - `sync`: frames may have been lost
 * - `limited`: the server rejected a frame other than a message because of its rate limit; seconds until it accepts one
 * @extends {Emitter<{
 *   hello: Frame, gap: Conversation, unlisted: Conversation, contradicted: void,
 *   sync: void, limited: number,
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
        this.#conversations.profiles.apply(this.#me, toProfile(frame));
        return this.emit("hello", frame);
      case "message":
        return this.#receiveMessage(
          toMessage({ ...frame, sender: frame.from, receiver: frame.to, content: frame.message }, this.#me),
        );
      case "changed":
        this.#receiveMessage(toMessage(frame.message, this.#me), "change");
        if (frame.ref) this.#outbox.remove(frame.ref); // after the change, so that it stays on screen
        return;
      case "ack":
        return this.#receiveAck(frame);
      case "error":
        if (frame.ref) this.#outbox.reject(frame.ref, frame.code, frame.retry_after);
        else if (frame.code === "rate_limited") this.emit("limited", frame.retry_after ?? 1);
        else if (frame.code === "bad_request") this.#outbox.rejectChangesInFlight(frame.code);
        return;
      case "delivered":
        return this.#conversations.update(frame.peer, (each) => each.readState.raisePeer({ delivered: frame.seq }));
      case "read":
        return this.#receiveRead(frame);
      case "membership":
        return this.#receiveMembership(frame);
      case "typing":
        return presence.startedTyping(frame.user);
      case "presence":
        return presence.update(frame.users);
      case "profile":
        return this.#conversations.profiles.apply(frame.user, toProfile(frame));
      case "new_user":
        return this.#people.add(frame.username);
      case "sync":
        this.emit("sync");
    }
  }

  /**
   * @param {Message} message
   * @param {"receive" | "change"} [apply]
   */
  #receiveMessage(message, apply = "receive") {
    const isMine = message.from === this.#me;
    const { seq, at, id, ref } = message;
    const peer = isMine ? message.to : message.from;
    if (this.#conversations.getOrCreate(peer).differs({ seq, at, id })) this.emit("contradicted");
    if (ref) this.#outbox.acknowledge(ref, seq);
    if (!isMine && apply === "receive") this.#people.presence.stoppedTyping(peer);
    if (!this.#conversations.receive(peer, message, apply)) return;
    const conversation = this.#conversations.getOrCreate(peer);
    const isUnlisted = apply === "change" && !conversation.isLoaded && !conversation.hasRow;
    this.emit(isUnlisted ? "unlisted" : "gap", conversation);
  }

  /** @param {Frame} frame the user has arranged a conversation, on any device */
  #receiveMembership(frame) {
    const conversation = this.#conversations.getOrCreate(frame.peer);
    conversation.membership.update(/** @type {import("../store/membership.js").Row} */ (frame));
    this.#conversations.changed(frame.peer);
    if (!conversation.hasRow) this.emit("unlisted", conversation);
  }

  /** @param {Frame} ack */
  #receiveAck({ ref, id, seq, timestamp, peer }) {
    const pending = this.#outbox.acknowledge(ref, seq);
    if (!pending) return;
    const { replyTo, file } = pending;
    const at = Date.parse(timestamp);
    const text = pending.text || (file?.name ?? ""); // as the server stores it
    const rest = { ...(replyTo && { replyTo }), ...fileOf(pending) };
    this.#receiveMessage({ seq, id, from: this.#me, to: peer, text, at, ref, ...rest });
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

/** @param {Frame} frame @returns {import("../store/profiles.js").ProfileFields} */
function toProfile({ display_name, photo }) {
  return { display_name, photo };
}
