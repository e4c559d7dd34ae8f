/** The composition root: builds every part, serves, and takes everything down in order. Nothing else constructs. */

import { isAbsolute, join } from "node:path";

import { Erasure } from "./accounts/account_purge.ts";
import { Limits } from "./accounts/limits.ts";
import { Renewals } from "./accounts/session_renewals.ts";
import { Door } from "./accounts/signup_policy.ts";
import { Chat } from "./chat/chat.ts";
import { Drafts } from "./chat/drafts.ts";
import { Choices } from "./chat/relationships.ts";
import { type SocketData, socketHandlers } from "./chat/socket.ts";
import { TextQuota } from "./chat/text_quota.ts";
import { type BusEvent, newPodName } from "./cluster/bus.ts";
import { announce, connectionsOf, openBus } from "./cluster/open_bus.ts";
import { type Config, secretsOf } from "./config.ts";
import { codeOf, Database, settingsOf, type Target } from "./db/client.ts";
import { EpochWatch, identityOf } from "./db/epoch.ts";
import { WRITER_PARAMETERS } from "./db/messages.ts";
import { migrate } from "./db/migrate.ts";
import { startEmbedded } from "./db/own_postgres.ts";
import { sessionNameOf } from "./db/pods.ts";
import { checkStores, Readiness } from "./db/readiness.ts";
import { rehearse } from "./db/rehearsal.ts";
import * as sessions from "./db/sessions.ts";
import * as settings from "./db/settings.ts";
import { fillSkeletons } from "./db/skeletons.ts";
import { explain } from "./db/start_failure.ts";
import { Hub } from "./delivery/hub.ts";
import { Resync } from "./delivery/resync.ts";
import { UnheardPods } from "./delivery/unreachable_pods.ts";
import { defaultBudget, Unsent } from "./delivery/unsent_budget.ts";
import type { Embedded } from "./embedded_postgres/embedded_postgres.ts";
import { keptSecret } from "./embedded_postgres/secret.ts";
import { ChatError } from "./errors.ts";
import { Account } from "./http/account.ts";
import { Auth } from "./http/login.ts";
import { Api } from "./http/messages.ts";
import { mayReadMetrics } from "./http/metrics_access.ts";
import { OtherVersions } from "./http/other_versions.ts";
import { Pages } from "./http/pages.ts";
import { DATA_HEADERS, failure, json, type Trust } from "./http/request.ts";
import { notFound, routes } from "./http/router.ts";
import { Streams } from "./http/stream.ts";
import { type Log, wordsOf } from "./log.ts";
import { type BusDrop, Metrics, type Usage } from "./metrics.ts";
import { BlockedPairs } from "./presence/blocked_pairs.ts";
import { Roster } from "./presence/registry.ts";
import { Presence } from "./presence/subscriptions.ts";
import { CLOSE } from "./protocol.ts";
import { isWholePrivateRange, Networks } from "./util/address.ts";
import { shownServers } from "./util/connection_string.ts";
import { newToken } from "./util/token.ts";

/** Connections for storing messages (one, since batches run one after another) and for everything else. */
const POOL_MAX = 4;
const WRITER_MAX = 1;
const BODY_MAX_BYTES = 16 * 1024;
const SESSIONS_CHECKED_EVERY_MS = 60_000;
/** Losses come together, one for each pod: one look at the sessions serves them all. */
const SESSIONS_GATHER_MS = 100;
const SESSIONS_SWEPT_EVERY_MS = 3_600_000;
/** During a rolling upgrade older pods still create accounts without skeletons. */
const FILLED_EVERY_MS = 60_000;
/** After an upgrade, how long a start waits for the skeletons of names: enough for 40,000 accounts. The rest follows while serving. */
const FILLED_BEFORE_MS = 3_000;
/** Of the files this process may have open, how many may be sockets of people; the rest is for requests, the database and itself. */
const SOCKETS_OF_FILES = 0.9;
const FILES_COUNTED_EVERY_MS = 1_000;
/** Whoever sends nothing and reads nothing, or a body byte by byte, goes: Bun counts in steps of 4 s, so after 8–12 s. Headers have 12 s whatever this is. */
const IDLE_SECONDS = 10;
/** Sockets told to come back at one time, so that they do not all come at once. */
const GOODBYES_PER_SLICE = 500;

export interface App {
  readonly url: string;
  readonly port: number;
  /** The database in words, without its password. */
  readonly database: string;
  /** The code by which whoever runs this chat signs up; undefined when there are accounts already. */
  readonly adminCode: string | undefined;
  /** Leaves in order. @param options.hurried without waiting for load balancers, as on Ctrl-C */
  stop(options?: { hurried?: boolean }): Promise<void>;
}

/** The port is somebody else's. */
export class PortError extends Error {
  constructor(port: number, host: string, cause: unknown) {
    super(`Port ${port} on ${host} cannot be used: ${cause instanceof Error ? cause.message : cause}`, { cause });
    this.name = "PortError";
  }
}

/**
 * Starts chatify: takes the port, then the database, then serves.
 *
 * @param options.root the directory with `sql/` and `static/`; a relative `DATA_DIR` is below it
 * @param options.openFiles how many the system allows this process
 * @param options.filesInUse how many it has open now, as far as the system tells
 * @param options.memoryBytes how much memory this process may use; absent: unlimited
 * @param options.usage what this process has taken of its machine
 * @param options.say progress for a person
 * @throws PortError, EmbeddedError, DatabaseError
 */
export async function startApp(
  config: Config,
  options: {
    root: string;
    version: string;
    log: Log;
    openFiles: number;
    filesInUse?: () => number;
    memoryBytes?: number;
    usage?: () => Usage;
    say?: (line: string) => void;
  },
): Promise<App> {
  const { root, version, log, filesInUse = () => 0, say = () => {} } = options;
  const { usage = () => ({ residentBytes: 0, cpuSeconds: 0 }) } = options;
  // The port first: a second start in the same place must fail before it touches the first one's database.
  const server = listen(config);
  const undo: (() => Promise<unknown> | void)[] = [() => server.stop(true)];
  let known: Target | undefined;
  try {
    let leaving = false;
    let filling = false;
    const socketsMax = Math.floor(options.openFiles * SOCKETS_OF_FILES);
    const loading = Pages.load(join(root, "static"), config.signup);
    loading.catch(() => {}); // awaited below: until then a failure is no defect that ends the process without stopping the database
    const dataDir = isAbsolute(config.dataDir) ? config.dataDir : join(root, config.dataDir);
    const embedded =
      config.databaseUrl === undefined ? await startEmbedded({ directory: dataDir, log, say }) : undefined;
    if (embedded) undo.unshift(() => embedded.stop());
    const target: Target = (known = config.databaseUrl ?? (embedded as Embedded).target);
    const pod = newPodName();
    const name = sessionNameOf(pod);
    await migrate(target, {
      directory: join(root, "sql"),
      name,
      allowUnsafe: config.unsafeDatabase,
      connections: POOL_MAX + WRITER_MAX + connectionsOf(config.bus),
      log,
      say,
    });
    await rehearse(target, name);

    const metrics = new Metrics({
      version,
      sockets: () => hub.size,
      people: () => hub.people,
      sendsWaiting: () => chat.waiting,
      busSent: () => bus.sent,
      unsentBytes: () => unsent.bytes,
      usage,
    });
    undo.unshift(metrics.watchLag());
    const { messages, rest } = metrics.querySeconds;
    const db = new Database({
      target,
      name,
      max: POOL_MAX,
      log,
      onLost() {
        metrics.dbLosses.add();
        void epochs.check();
      },
      took: (ms) => rest.observe(ms / 1_000),
    });
    undo.unshift(() => db.end());
    const epochs = new EpochWatch({ db, log, changed: reloadEverybody });
    undo.unshift(() => epochs.stop());
    await Promise.race([fillLate(), Bun.sleep(FILLED_BEFORE_MS)]);
    const writer = new Database({
      target,
      name,
      max: WRITER_MAX,
      log,
      parameters: WRITER_PARAMETERS,
      onLost: () => metrics.dbLosses.add(),
      took: (ms) => messages.observe(ms / 1_000),
    });
    undo.unshift(() => writer.end());
    await checkStores(writer);

    const secrets =
      config.sessionSecrets ??
      secretsOf(embedded ? keptSecret(dataDir, newToken()) : await settings.shared(db, "session_secret", newToken()));
    const identity = await identityOf(db);
    const hub = new Hub();
    const unsent = new Unsent({
      maxBytes: config.unsentMax ?? defaultBudget(options.memoryBytes ?? Number.POSITIVE_INFINITY),
      log,
      cuts: metrics.unsentCuts,
    });
    await epochs.start();
    const dropped = (why: BusDrop) => metrics.busDrops.add(why);
    const bus = await openBus(config.bus, { db, target, name, pod, log, dropped });
    undo.unshift(() => bus.stop());
    const roster = new Roster({ db, bus, log, changed: (...change) => presence.change(...change) });
    undo.unshift(() => roster.stop());
    const blocked = new BlockedPairs({ db });
    undo.unshift(() => blocked.stop());
    const presence = new Presence({ db, roster, blocked });
    undo.unshift(() => presence.stop());
    const resync = new Resync({ db, hub, log });
    undo.unshift(() => resync.stop());
    const unheardPods = new UnheardPods({ db, bus, log, resync, alert: () => void bus.alertOlderPods() });
    undo.unshift(() => unheardPods.stop());
    const limits = new Limits(config.rateLimit ? config.limits : undefined, (limit) => metrics.rateLimited.add(limit));
    const readiness = new Readiness({ db, writer, isFailing: () => chat.isFailing, log });
    const choices = new Choices({ db, hub, bus, presence });
    const quota = config.rateLimit
      ? new TextQuota({ db, maxBytes: config.limits.bytes, log, refused: () => metrics.rateLimited.add("bytes") })
      : undefined;
    undo.unshift(async () => quota?.stop());
    const chat = new Chat({ db, writer, hub, bus, choices, log, limits, quota, metrics });
    undo.unshift(() => chat.stop());
    const drafts = new Drafts({ db, hub, bus, limits });
    const trust: Trust = {
      proxies: typeof config.trustProxy === "string" ? config.trustProxy : new Networks(config.trustProxy),
      origins: config.allowedOrigins,
      peer: (request) => server.requestIP(request)?.address,
    };
    if (typeof config.trustProxy !== "string" && config.trustProxy.some(isWholePrivateRange)) {
      log.warn(
        "TRUST_PROXY lists a whole private range: clients in it can choose the address that limits count; list the proxies' own addresses or subnet",
        { networks: config.trustProxy.filter(isWholePrivateRange).join(", ") },
      );
    }
    const pages = await loading;
    const otherVersions = new OtherVersions({ db, log });
    await otherVersions.share(pages.version, pages.files);
    const renewals = new Renewals({ db, log });
    undo.unshift(() => renewals.stop());
    const door = new Door({ db, signup: config.signup, secrets, identity });
    const auth = new Auth({
      db,
      door,
      pages,
      secrets,
      trust,
      limits,
      failures: metrics.loginFailures,
      signedUp: (username) => {
        presence.announce(username);
        bus.publish([{ kind: "user", username }]);
      },
      ended: ({ id, nameKey }) => {
        hub.endSession(id);
        bus.publish([{ kind: "end", nameKey, sessionId: id }]);
      },
      renewals,
    });
    const erasure = new Erasure({ db, log });
    undo.unshift(() => erasure.stop());
    const streams = new Streams({ log, unsent });
    const account = new Account({ auth, choices, db, erasure, streams });
    const api = new Api({ auth, chat, choices, db, door, roster, streams, trust });
    const sockets = socketHandlers({
      chat,
      drafts,
      hub,
      presence,
      limits,
      log,
      metrics,
      quota,
      unsent,
      epoch: () => epochs.epoch,
      version: pages.version,
    });
    undo.unshift(() => sockets.stop());
    let checkingSoon: Timer | undefined;
    undo.unshift(() => clearTimeout(checkingSoon));
    await bus.start({
      deliver(event, from) {
        if (event.kind === "message" || event.kind === "frame") chat.relay(event);
        else if (event.kind === "end") hub.endSession(event.sessionId);
        else if (event.kind === "user") presence.announce(event.username);
        else if (event.kind === "veil") presence.veil(event.nameKey, event.on);
        else if (event.kind === "block") void presence.blockChanged(event.nameKeys);
        else roster.hear(event, from);
      },
      lost(pod) {
        metrics.busLosses.add();
        resync.lost();
        roster.ask(pod);
        checkingSoon ??= setTimeout(() => {
          void endDeadSessions();
          void presence.refreshBlocks();
        }, SESSIONS_GATHER_MS);
      },
      joined: (pod) => roster.joined(pod),
      vanished: (pod, graceful) => roster.vanished(pod, graceful),
    });
    roster.start();
    unheardPods.start();

    const { elsewhere } = metrics;
    let crowded = false;
    const housekeeping = [
      setInterval(countFiles, FILES_COUNTED_EVERY_MS),
      setInterval(() => void endDeadSessions(), SESSIONS_CHECKED_EVERY_MS),
      setInterval(() => void sweepSessions(), SESSIONS_SWEPT_EVERY_MS),
      setInterval(() => void fillLate(), FILLED_EVERY_MS),
    ];
    undo.unshift(() => housekeeping.forEach(clearInterval));
    void sweepSessions();

    server.reload({
      ...SERVE,
      websocket: sockets.handlers,
      routes: routes({
        account,
        api,
        auth,
        otherVersions,
        pages,
        log,
        trust,
        version,
        opening: async ({ username }) => quota?.load(username),
        full: () => {
          if (leaving) return new ChatError("restarting", { retryAfter: 2 });
          if (crowded || hub.size >= socketsMax) return new ChatError("busy", { retryAfter: 5 });
          return undefined;
        },
        ready: async () => !leaving && (await readiness.isReady()),
        metrics,
        figures: (request, from) =>
          mayReadMetrics(request, from.requestIP(request)?.address, config.metricsToken)
            ? new Response(metrics.render(), {
                headers: { ...DATA_HEADERS, "Content-Type": "text/plain; version=0.0.4" },
              })
            : failure(new ChatError("not_yours")),
      }),
      fetch(request) {
        const answer = notFound(request, trust);
        elsewhere.count(request.method, answer.status, 0);
        return answer;
      },
    });

    /** At the system's limit Bun takes nobody, and spins: connections that wait for their next request make room before. */
    function countFiles(): void {
      const files = filesInUse();
      const was = crowded;
      crowded = files >= socketsMax;
      if (!crowded) return;
      const closed = server.closeIdleConnections() ?? 0;
      if (!was) log.warn("open files run out, new sockets have to wait", { files, limit: options.openFiles, closed });
    }

    async function endDeadSessions(): Promise<void> {
      checkingSoon = undefined;
      const open = [...hub.sockets()].map(({ sessionId }) => sessionId);
      if (open.length === 0) return;
      try {
        const alive = await sessions.alive(db, [...new Set(open)]);
        const checked = new Set(open);
        hub.closeWhere(CLOSE.sessionEnded, ({ sessionId }) => checked.has(sessionId) && !alive.has(sessionId));
        for (const [id, { isDue }] of alive) if (isDue) renewals.note(id); // an open socket is use
      } catch (error) {
        if (!leaving) log.warn("sessions not checked, trying again in a minute", { error: wordsOf(error) });
      }
    }

    async function sweepSessions(): Promise<void> {
      try {
        while ((await sessions.sweep(db)) === 10_000) await Bun.sleep(100);
      } catch (error) {
        if (!leaving) log.warn("expired sessions not swept, trying again in an hour", { error: wordsOf(error) });
      }
    }

    async function fillLate(): Promise<void> {
      if (filling) return;
      filling = true;
      try {
        await fillSkeletons(db, log);
      } catch (error) {
        if (!leaving) log.warn("skeletons of names not filled in, will retry in a minute", { error: wordsOf(error) });
      }
      filling = false;
    }

    /** What pages hold may be of a database that is no more: all come back, and those whose sessions are gone sign in. */
    function reloadEverybody(): void {
      if (!leaving) hub.closeWhere(CLOSE.restarting, () => true);
    }

    const stop: App["stop"] = async ({ hurried = false } = {}) => {
      leaving = true;
      roster.leaving();
      if (!hurried) await Bun.sleep(config.drainSeconds * 1_000);
      await chat.drain();
      const open = [...hub.sockets()];
      for (let i = 0; i < open.length; i += GOODBYES_PER_SLICE) {
        for (const socket of open.slice(i, i + GOODBYES_PER_SLICE)) socket.close(CLOSE.restarting);
        await Bun.sleep(hurried ? 0 : 20);
      }
      await chat.drain(); // what they still got is delivered
      await drafts.drain();
      await takeDown(undo, log);
    };
    const port = server.port ?? config.port;
    return {
      url: `http://${shownHost(config.host)}:${port}`,
      port,
      database: describe(config, embedded, dataDir),
      adminCode: await door.codeToShow(),
      stop,
    };
  } catch (error) {
    await takeDown(undo, log);
    throw known === undefined ? error : explain(error, known);
  }
}

/** What commands need of chatify, whether it serves meanwhile or not. */
export interface Office {
  readonly db: Database;
  readonly door: Door;
  /** Tells the pods that serve; when they cannot be reached, they find out within a minute. */
  tell(events: readonly BusEvent[]): Promise<void>;
  end(): Promise<void>;
}

/**
 * Opens the database as a start does, without serving. An embedded one is shared with whoever uses it.
 *
 * @throws EmbeddedError, DatabaseError
 */
export async function openOffice(
  config: Config,
  options: { root: string; log: Log; say: (line: string) => void },
): Promise<Office> {
  const { root, log, say } = options;
  const undo: (() => Promise<unknown> | void)[] = [];
  let known: Target | undefined;
  try {
    const dataDir = isAbsolute(config.dataDir) ? config.dataDir : join(root, config.dataDir);
    const embedded =
      config.databaseUrl === undefined ? await startEmbedded({ directory: dataDir, log, say }) : undefined;
    if (embedded) undo.unshift(() => embedded.stop());
    const target: Target = (known = config.databaseUrl ?? (embedded as Embedded).target);
    const name = `chatify-command-${crypto.randomUUID().slice(0, 8)}`;
    await migrate(target, { directory: join(root, "sql"), name, allowUnsafe: config.unsafeDatabase, log, say });
    const db = new Database({ target, name, max: 1, log });
    undo.unshift(() => db.end());
    await fillSkeletons(db, log);
    const secrets =
      config.sessionSecrets ??
      secretsOf(embedded ? keptSecret(dataDir, newToken()) : await settings.shared(db, "session_secret", newToken()));
    const door = new Door({ db, signup: config.signup, secrets, identity: await identityOf(db) });
    return {
      db,
      door,
      async tell(events) {
        try {
          await announce(config.bus, { db, target, name, log }, events);
        } catch (error) {
          log.warn("the pods were not told, and find out within a minute", { code: codeOf(error) });
        }
      },
      end: () => takeDown(undo, log),
    };
  } catch (error) {
    await takeDown(undo, log);
    throw known === undefined ? error : explain(error, known);
  }
}

const SERVE = {
  development: false,
  idleTimeout: IDLE_SECONDS,
  maxRequestBodySize: BODY_MAX_BYTES,
  error: () => failure(new ChatError("internal")),
} as const;

/** Takes the port. Until the database is there, everything but `/healthz` has to wait. */
function listen(config: Config): Bun.Server<SocketData> {
  try {
    return Bun.serve<SocketData>({
      ...SERVE,
      reusePort: false, // Bun's default without `development` is true: a second start would silently share the port
      port: config.port,
      hostname: config.host,
      fetch: (request) =>
        URL.parse(request.url)?.pathname === "/healthz" ? json({ status: "ok" }) : failure(new ChatError("not_ready")),
      websocket: { message() {} },
    });
  } catch (error) {
    throw new PortError(config.port, config.host, error);
  }
}

/** In the order of `undo`, each part although another fails. */
async function takeDown(undo: (() => Promise<unknown> | void)[], log: Log): Promise<void> {
  for (const step of undo) {
    try {
      await step();
    } catch (error) {
      log.error("stopping a part failed", error);
    }
  }
}

function shownHost(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "localhost";
  return host.includes(":") ? `[${host}]` : host;
}

function describe(config: Config, embedded: Embedded | undefined, dataDir: string): string {
  if (embedded) return `embedded PostgreSQL, ${embedded.state}, in ${dataDir}`;
  const settings = settingsOf(config.databaseUrl as string);
  return `PostgreSQL ${shownServers(settings)}, database ${settings.database}`;
}
