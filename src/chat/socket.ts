/**
 * Bun's WebSocket handlers: registers sockets with the hub and presence, and dispatches each frame
 * to chat, changes, receipts, drafts or presence.
 */

import type { ServerWebSocket, WebSocketHandler } from "bun";

import type { Limits, MeteredSocket } from "../accounts/limits.ts";
import type { ChangeWindows } from "../db/changes.ts";
import type { Session } from "../db/sessions.ts";
import type { Hub, Socket } from "../delivery/hub.ts";
import type { StalledClient, UnsentBudget } from "../delivery/unsent_budget.ts";
import { ChatError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Counter, Metrics } from "../metrics.ts";
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
import type { Changes } from "./changes.ts";
import type { Chat } from "./chat.ts";
import type { Drafts } from "./drafts.ts";
import type { Profiles } from "./profiles.ts";
import type { Receipts } from "./receipts.ts";
import type { TextQuota } from "./text_quota.ts";

/**
 * Unsent bytes per socket; beyond them the socket is closed. Bun keeps up to half as much again: at
 * 1 MiB, 100 stalled sockets took 139 MiB.
 */
const BACKLOG_MAX_BYTES = 768 * 1024;
/** Memory per unsent byte: Bun's buffers grow by half. Measured with 540 sockets: 1.0 to 1.7. */
const MEMORY_PER_UNSENT_BYTE = 2;
const PING_EVERY_MS = 25_000;
const SILENT_MAX_MS = 60_000;
const WATCHDOG_EVERY_MS = 1_000;
/** Sockets opened before a forced garbage collection, once none has opened for `CALM_MS`. */
const SOCKETS_PER_GC = 1_000;
const CALM_MS = 3_000;

/** What the HTTP upgrade attaches to a socket. */
export interface SocketData {
  readonly session: Session;
  socket?: OpenSocket;
}

/** Shared by all sockets. `closes` counts sockets that exceeded their own limit. */
interface Backpressure {
  readonly unsent: UnsentBudget;
  readonly closes: Counter;
}

/** A user's open socket: sends frames, limits unsent data and checks that the client is alive. */
class OpenSocket implements Socket, MeteredSocket, StalledClient {
  readonly username: string;
  readonly nameKey: string;
  readonly sessionId: number;
  readonly #ws: ServerWebSocket<SocketData>;
  lastReceivedAt = performance.now();
  nextPingAt = this.lastReceivedAt + PING_EVERY_MS * (0.8 + Math.random() * 0.4);
  /** Credits for frames; more than the burst counts as the burst. */
  credits = Number.POSITIVE_INFINITY;
  creditsAt = this.lastReceivedAt;
  strikes: MeteredSocket["strikes"] = undefined;
  readonly #backpressure: Backpressure;
  #isOverLimit = false;

  constructor(ws: ServerWebSocket<SocketData>, backpressure: Backpressure) {
    this.#ws = ws;
    this.#backpressure = backpressure;
    ({ username: this.username, nameKey: this.nameKey, id: this.sessionId } = ws.data.session);
  }

  send(frame: string): boolean {
    const sent = this.#ws.send(frame);
    if (sent > 0) return true;
    return sent === 0 ? this.#countDropped() : this.noteUnsent();
  }

  sendAll(frames: readonly string[]): boolean {
    if (frames.length === 1) return this.send(frames[0] as string);
    let accepted = true;
    this.#ws.cork(() => {
      for (const frame of frames) if (this.#ws.send(frame) === 0) accepted = this.#countDropped();
    });
    // Corked frames are sent together, so the buffered amount is known only now.
    return this.#ws.getBufferedAmount() > 0 ? this.noteUnsent() && accepted : accepted;
  }

  /** Reports its unsent bytes to the budget. @returns whether the socket is still open */
  noteUnsent(): boolean {
    this.#backpressure.unsent.note(this, this.#ws.getBufferedAmount() * MEMORY_PER_UNSENT_BYTE);
    return this.#ws.readyState === WebSocket.OPEN;
  }

  /** Returns its unsent bytes to the budget once it is closed. */
  releaseUnsent(): void {
    this.#backpressure.unsent.note(this, 0);
  }

  disconnect({ graceful }: { graceful: boolean }): void {
    if (graceful) this.#ws.close(CLOSE.overloaded);
    else this.#ws.terminate();
  }

  close(code: CloseCode): void {
    this.#ws.close(code);
  }

  /** Counts the socket once, although Bun drops every further frame until it closes. */
  #countDropped(): false {
    if (!this.#isOverLimit && this.#ws.readyState === WebSocket.OPEN) {
      this.#isOverLimit = true;
      this.#backpressure.closes.add();
    }
    return false;
  }

  /**
   * Pings when due and terminates a socket silent for a minute. Bun's idle timer cannot detect
   * that: our own sends reset it.
   */
  checkAlive(now: number): void {
    if (now - this.lastReceivedAt > SILENT_MAX_MS) return this.#ws.terminate();
    this.noteUnsent(); // inside the message handler, Bun reports frames as sent before they are
    if (now < this.nextPingAt) return;
    this.nextPingAt = now + PING_EVERY_MS * (0.8 + Math.random() * 0.4);
    this.#ws.ping();
  }
}

/**
 * @param parts.epoch changes when the database may have been restored to an earlier state
 * @param parts.version of the page's files
 * @returns Bun's handlers, and `stop`, which ends their timer
 */
export function socketHandlers(parts: {
  chat: Chat;
  changes: Changes;
  receipts: Receipts;
  drafts: Drafts;
  hub: Hub;
  presence: PresenceSubscriptions;
  profiles: Profiles;
  limits: Limits;
  log: Log;
  metrics: Metrics;
  quota: TextQuota | undefined;
  unsent: UnsentBudget;
  epoch: () => string;
  version: string;
  windows: ChangeWindows;
  fileMax: number;
}): { handlers: WebSocketHandler<SocketData>; stop: () => void } {
  const { chat, changes, receipts, drafts, hub, presence, profiles } = parts;
  const { limits, log, metrics, quota, unsent, epoch, version, windows, fileMax } = parts;
  const backpressure: Backpressure = { unsent, closes: metrics.backpressureCloses };
  let openedSinceGc = 0;
  let lastOpenedAt = 0;
  const watchdog = setInterval(() => {
    const now = performance.now();
    if (openedSinceGc >= SOCKETS_PER_GC && now - lastOpenedAt > CALM_MS) {
      openedSinceGc = 0;
      Bun.gc(true); // takes 46 ms with 10,000 sockets; each then holds 3.7 KiB instead of 4.9
    }
    for (const socket of hub.sockets()) if (socket instanceof OpenSocket) socket.checkAlive(now);
  }, WATCHDOG_EVERY_MS);

  const handlers: WebSocketHandler<SocketData> = {
    // mutation: size of frames
    maxPayloadLength: FRAME_MAX_BYTES,
    backpressureLimit: BACKLOG_MAX_BYTES,
    closeOnBackpressureLimit: true, // otherwise Bun drops frames silently
    // mutation: no compression
    perMessageDeflate: false,
    idleTimeout: 0,
    sendPings: false,

    open(ws) {
      if (hub.hasEnded(ws.data.session.id)) return ws.close(CLOSE.sessionEnded);
      // Checked here, since sockets open one at a time: concurrent upgrades would all pass a check made at the upgrade.
      if (limits.isAtSocketLimit(hub.socketsOf(ws.data.session.nameKey).length)) {
        return ws.close(CLOSE.tooManySockets, "Too many tabs are open. Close one and try again");
      }
      const socket = new OpenSocket(ws, backpressure);
      ws.data.socket = socket;
      socket.send(helloFrame(ws.data.session, { epoch: epoch(), version, windows, fileMax }));
      hub.add(socket);
      presence.connect(socket, ws.data.session.hidesLastSeen);
      profiles.opened(socket);
      openedSinceGc++;
      lastOpenedAt = socket.lastReceivedAt;
    },

    // Synchronous up to the send queue: Bun does not await a handler before it calls the next.
    message(ws, data) {
      const { socket } = ws.data;
      if (!socket) return;
      socket.lastReceivedAt = performance.now();
      if (typeof data !== "string") return ws.close(CLOSE.binary, "Frames must be text");
      try {
        const frame = parseFrame(data); // before the limit, whose error must name the ref
        const retryAfter = limits.chargeFrame(socket, socket.lastReceivedAt);
        if (retryAfter > 0) {
          throw new ChatError("rate_limited", { retryAfter, ref: "ref" in frame ? frame.ref : undefined });
        }
        dispatch(socket, frame)?.catch((error: unknown) => fail(socket, error));
      } catch (error) {
        fail(socket, error);
      }
    },

    pong(ws) {
      if (ws.data.socket) ws.data.socket.lastReceivedAt = performance.now();
    },

    ping(ws) {
      if (ws.data.socket) ws.data.socket.lastReceivedAt = performance.now();
    },

    drain(ws) {
      ws.data.socket?.noteUnsent();
    },

    close(ws) {
      const { socket } = ws.data;
      if (!socket) return;
      socket.releaseUnsent();
      const isLast = hub.remove(socket);
      presence.disconnect(socket, isLast);
      if (isLast) quota?.forget(socket.username);
    },
  };

  function dispatch(socket: OpenSocket, frame: ClientFrame): Promise<unknown> | undefined {
    switch (frame.type) {
      case "message":
        chat.send(socket, frame);
        return undefined;
      case "edit":
      case "delete":
      case "react":
        return changes.make(socket, frame);
      case "read":
        return receipts.markRead(socket.username, frame.peer, frame.seq);
      case "typing":
        return chat.sendTyping(socket, frame.peer);
      case "draft":
        return drafts.save(socket, frame);
      case "watch":
        limits.charge("watch", socket.nameKey);
        return presence.subscribe(socket, frame.users, frame).then(() => profiles.watched(socket));
      case "ping":
        socket.send(PONG_FRAME);
        return undefined;
    }
  }

  function fail(socket: OpenSocket, error: unknown): void {
    // A row locked for 4 s, a full disk, or an outage during shutdown: the page reconnects and resyncs.
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
