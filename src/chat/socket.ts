/** The WebSocket door: Bun's handlers. A frame in goes to chat or presence; opening and closing to hub and presence. */

import type { ServerWebSocket, WebSocketHandler } from "bun";

import type { Limits, MeteredSocket } from "../accounts/limits.ts";
import type { Session } from "../db/sessions.ts";
import type { Hub, Socket } from "../delivery/hub.ts";
import type { StalledClient, UnsentBudget } from "../delivery/unsent_budget.ts";
import { ChatError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Count, Metrics } from "../metrics.ts";
import type { PresenceSubscriptions } from "../presence/subscriptions.ts";
import {
  type ClientFrame,
  CLOSE,
  type CloseCode,
  errorFrame,
  FRAME_MAX_BYTES,
  helloFrame,
  parseFrame,
  PONG_FRAME,
} from "../protocol.ts";
import type { Chat } from "./chat.ts";
import type { Drafts } from "./drafts.ts";
import type { TextQuota } from "./text_quota.ts";

/** What waits for a slow reader of one socket; beyond it the socket closes. Bun keeps up to half as much again: with 1 MiB 100 of them took 139 MiB. */
const BACKLOG_MAX_BYTES = 768 * 1024;
/** What is held for each byte that waits: Bun's buffers grow by half. Measured with 540 sockets: 1.0 to 1.7. */
const HELD_FOR_BYTE = 2;
const PING_EVERY_MS = 25_000;
const SILENT_MAX_MS = 60_000;
const WATCHDOG_EVERY_MS = 1_000;
/** After a crowd came, and then nobody for some seconds, what its coming left behind is collected: Bun by itself may wait for long. */
const CROWD = 1_000;
const CALM_MS = 3_000;

/** What an upgrade hands over. */
export interface SocketData {
  readonly session: Session;
  socket?: OpenSocket;
}

/** What happens to sockets whose readers are slow. `closedBehind` counts those that fell too far behind. */
interface SlowReaders {
  readonly unsent: UnsentBudget;
  readonly closedBehind: Count;
}

/** A person's open socket, and when it was last heard. */
class OpenSocket implements Socket, MeteredSocket, StalledClient {
  readonly username: string;
  readonly nameKey: string;
  readonly sessionId: number;
  readonly #ws: ServerWebSocket<SocketData>;
  heardAt = performance.now();
  pingAt = this.heardAt + PING_EVERY_MS * (0.8 + Math.random() * 0.4);
  /** Of its frames: full at first, whatever the burst. */
  credits = Number.POSITIVE_INFINITY;
  at = this.heardAt;
  strikes: MeteredSocket["strikes"] = undefined;
  readonly #readers: SlowReaders;
  #isBehind = false;

  constructor(ws: ServerWebSocket<SocketData>, readers: SlowReaders) {
    this.#ws = ws;
    this.#readers = readers;
    ({ username: this.username, nameKey: this.nameKey, id: this.sessionId } = ws.data.session);
  }

  send(frame: string): boolean {
    const sent = this.#ws.send(frame);
    if (sent > 0) return true;
    return sent === 0 ? this.#dropped() : this.noteUnsent();
  }

  sendAll(frames: readonly string[]): boolean {
    if (frames.length === 1) return this.send(frames[0] as string);
    let taken = true;
    this.#ws.cork(() => {
      for (const frame of frames) if (this.#ws.send(frame) === 0) taken = this.#dropped();
    });
    // Corked frames leave together: only now it is known whether the client takes them.
    return this.#ws.getBufferedAmount() > 0 ? this.noteUnsent() && taken : taken;
  }

  /** Notes what waits for it. @returns whether it is open still, and not the one that had to be cut */
  noteUnsent(): boolean {
    this.#readers.unsent.note(this, this.#ws.getBufferedAmount() * HELD_FOR_BYTE);
    return this.#ws.readyState === WebSocket.OPEN;
  }

  /** It is closed: nothing waits any more. */
  closed(): void {
    this.#readers.unsent.note(this, 0);
  }

  disconnect(inOrder: boolean): void {
    if (inOrder) this.#ws.close(CLOSE.overloaded);
    else this.#ws.terminate();
  }

  close(code: CloseCode): void {
    this.#ws.close(code);
  }

  /** Bun says so once more for each frame, until it closes the socket. @returns false */
  #dropped(): false {
    if (!this.#isBehind && this.#ws.readyState === WebSocket.OPEN) {
      this.#isBehind = true;
      this.#readers.closedBehind.add();
    }
    return false;
  }

  /** Pings when it is time; cuts whoever was silent for a minute. Bun's own idle timer is re-armed by our sends, so it cannot tell. */
  watch(now: number): void {
    if (now - this.heardAt > SILENT_MAX_MS) return this.#ws.terminate();
    this.noteUnsent(); // of frames sent while it is heard, Bun says too early that they have left
    if (now < this.pingAt) return;
    this.pingAt = now + PING_EVERY_MS * (0.8 + Math.random() * 0.4);
    this.#ws.ping();
  }
}

/** @param parts.epoch changes when the database may have gone back @param parts.version of the pages' files @returns Bun's handlers, and `stop` for their timer */
export function socketHandlers(parts: {
  chat: Chat;
  drafts: Drafts;
  hub: Hub;
  presence: PresenceSubscriptions;
  limits: Limits;
  log: Log;
  metrics: Metrics;
  quota: TextQuota | undefined;
  unsent: UnsentBudget;
  epoch: () => string;
  version: string;
}): { handlers: WebSocketHandler<SocketData>; stop: () => void } {
  const { chat, drafts, hub, presence, limits, log, metrics, quota, unsent, epoch, version } = parts;
  const readers: SlowReaders = { unsent, closedBehind: metrics.backpressureCloses };
  let came = 0;
  let cameAt = 0;
  const watchdog = setInterval(() => {
    const now = performance.now();
    if (came >= CROWD && now - cameAt > CALM_MS) {
      came = 0;
      Bun.gc(true); // 46 ms with 10,000 sockets, which are then 3.7 KiB each and not 4.9
    }
    for (const socket of hub.sockets()) if (socket instanceof OpenSocket) socket.watch(now);
  }, WATCHDOG_EVERY_MS);

  const handlers: WebSocketHandler<SocketData> = {
    // mutation: size of frames
    maxPayloadLength: FRAME_MAX_BYTES,
    backpressureLimit: BACKLOG_MAX_BYTES,
    closeOnBackpressureLimit: true, // else Bun drops frames and says nothing
    // mutation: no compression
    perMessageDeflate: false,
    idleTimeout: 0,
    sendPings: false,

    open(ws) {
      if (hub.hasEnded(ws.data.session.id)) return ws.close(CLOSE.sessionEnded);
      // Checked here, where sockets open one after the other, so that of many upgrades at once none slips through.
      if (limits.isAtSocketLimit(hub.socketsOf(ws.data.session.nameKey).length)) {
        return ws.close(CLOSE.tooManySockets, "Too many tabs are open. Close one and try again");
      }
      const socket = new OpenSocket(ws, readers);
      ws.data.socket = socket;
      socket.send(helloFrame(socket.username, { epoch: epoch(), version }));
      hub.add(socket);
      presence.connect(socket, ws.data.session.hidesLastSeen);
      came++;
      cameAt = socket.heardAt;
    },

    // Synchronous up to the queue: Bun runs async handlers out of order.
    message(ws, data) {
      const { socket } = ws.data;
      if (!socket) return;
      socket.heardAt = performance.now();
      if (typeof data !== "string") return ws.close(CLOSE.binary, "Frames are text");
      try {
        const frame = parseFrame(data); // first: a refusal has to name the ref
        const retryAfter = limits.chargeFrame(socket, socket.heardAt);
        if (retryAfter > 0) {
          throw new ChatError("rate_limited", { retryAfter, ref: frame.type === "message" ? frame.ref : undefined });
        }
        const later = act(socket, frame);
        later?.catch((error: unknown) => fail(socket, error));
      } catch (error) {
        fail(socket, error);
      }
    },

    pong(ws) {
      if (ws.data.socket) ws.data.socket.heardAt = performance.now();
    },

    ping(ws) {
      if (ws.data.socket) ws.data.socket.heardAt = performance.now();
    },

    drain(ws) {
      ws.data.socket?.noteUnsent();
    },

    close(ws) {
      const { socket } = ws.data;
      if (!socket) return;
      socket.closed();
      const isLast = hub.remove(socket);
      presence.disconnect(socket, isLast);
      if (isLast) quota?.forget(socket.username);
    },
  };

  function act(socket: OpenSocket, frame: ClientFrame): Promise<unknown> | undefined {
    switch (frame.type) {
      case "message":
        chat.send(socket, frame.to, frame.message, frame.ref);
        return undefined;
      case "read":
        return chat.markRead(socket.username, frame.peer, frame.seq);
      case "typing":
        return chat.sendTyping(socket, frame.peer);
      case "draft":
        return drafts.save(socket, frame);
      case "watch":
        limits.spend("watch", socket.nameKey);
        return presence.subscribe(socket, frame.users, frame);
      case "ping":
        socket.send(PONG_FRAME);
        return undefined;
    }
  }

  function fail(socket: OpenSocket, error: unknown): void {
    // Out of reach for 10 s, or locked for 4: the page comes back, and asks and marks again.
    if (error instanceof ChatError && error.code === "not_ready") return socket.close(CLOSE.overloaded);
    if (error instanceof ChatError) {
      socket.send(errorFrame(error));
      if (limits.addStrike(socket, error.code, performance.now())) socket.close(CLOSE.limits);
      return;
    }
    log.error("socket handler failed", error);
    socket.close(CLOSE.bug);
  }

  return { handlers, stop: () => clearInterval(watchdog) };
}
