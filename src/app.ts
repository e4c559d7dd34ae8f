/**
 * The composition root: constructs all parts, serves, and stops them in reverse order. Only this
 * file constructs them.
 */

import { join } from "node:path";

import { AccountPurge } from "./accounts/account_purge.ts";
import { Limits } from "./accounts/limits.ts";
import { SessionRenewals } from "./accounts/session_renewals.ts";
import { SessionSweeper } from "./accounts/session_sweeper.ts";
import { SignupPolicy } from "./accounts/signup_policy.ts";
import { Chat } from "./chat/chat.ts";
import { Drafts } from "./chat/drafts.ts";
import { Receipts } from "./chat/receipts.ts";
import { Relationships } from "./chat/relationships.ts";
import { socketHandlers } from "./chat/socket.ts";
import { TextQuota } from "./chat/text_quota.ts";
import { type BusEvent, newPodName } from "./cluster/bus.ts";
import { announce, busConnections, openBus } from "./cluster/open_bus.ts";
import type { Config } from "./config.ts";
import { Database } from "./db/database.ts";
import { EpochWatch } from "./db/epoch.ts";
import { codeOf } from "./db/failures.ts";
import { WRITER_PARAMETERS } from "./db/insert_messages.ts";
import { sessionNameOf } from "./db/pods.ts";
import { checkStores, Readiness } from "./db/readiness.ts";
import { rehearse } from "./db/rehearsal.ts";
import { fillSkeletons, SkeletonFiller } from "./db/skeletons.ts";
import { explain } from "./db/start_failure.ts";
import { openStore, type Store } from "./db/store.ts";
import { Delivery } from "./delivery/delivery.ts";
import { Hub } from "./delivery/hub.ts";
import { Resync } from "./delivery/resync.ts";
import { UnreachablePods } from "./delivery/unreachable_pods.ts";
import { defaultBudget, UnsentBudget } from "./delivery/unsent_budget.ts";
import { ChatError } from "./errors.ts";
import { Account } from "./http/account.ts";
import { Conversations } from "./http/conversations.ts";
import { Cookies } from "./http/cookies.ts";
import { displayHost, listen, SERVER_OPTIONS } from "./http/listen.ts";
import { Login } from "./http/login.ts";
import { Messages } from "./http/messages.ts";
import { mayReadMetrics } from "./http/metrics_access.ts";
import { OpenFiles } from "./http/open_files.ts";
import { OtherVersions } from "./http/other_versions.ts";
import { Pages } from "./http/pages.ts";
import { Passwords } from "./http/passwords.ts";
import { People } from "./http/people.ts";
import { DATA_HEADERS, errorResponse, type Trust } from "./http/request.ts";
import { notFound, routes } from "./http/router.ts";
import { Sessions } from "./http/sessions.ts";
import { Streams } from "./http/stream.ts";
import type { Log } from "./log.ts";
import { type BusDrop, Metrics, type Usage } from "./metrics.ts";
import { BlockedPairs } from "./presence/blocked_pairs.ts";
import { PresenceRegistry } from "./presence/registry.ts";
import { PresenceSubscriptions } from "./presence/subscriptions.ts";
import { CLOSE } from "./protocol.ts";
import { coversPrivateRange, Networks } from "./util/address.ts";
import { disposeAll } from "./util/disposal.ts";

const POOL_MAX = 4;
/** Batches of messages are stored one after another. */
const WRITER_MAX = 1;
/**
 * After an upgrade, how long a start waits for the skeletons of names: enough for 40,000 accounts.
 * The rest follows while serving.
 */
const FILLED_BEFORE_MS = 3_000;
/** At shutdown sockets are closed in slices, so that clients do not all reconnect at once. */
const CLOSES_PER_SLICE = 500;

export interface App {
  readonly url: string;
  readonly port: number;
  /** Description of the database, without its password. */
  readonly database: string;
  /** The code with which the admin signs up; undefined once there are accounts. */
  readonly adminCode: string | undefined;
  /** Stops gracefully. @param options.hurried does not wait for load balancers, as on Ctrl-C */
  stop(options?: { hurried?: boolean }): Promise<void>;
}

/**
 * Starts chatify: binds the port, opens the database, serves.
 *
 * @param options.root the directory with `sql/` and `static/`; a relative `DATA_DIR` is below it
 * @param options.openFiles the process's limit of open files
 * @param options.filesInUse the number of open files, 0 where the system does not report it
 * @param options.memoryBytes the process's memory limit; unlimited if absent
 * @param options.say prints progress
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
  const parts = new AsyncDisposableStack();
  let store: Store | undefined;
  try {
    // The port first: a second start in the same directory must fail before it touches the database
    // of the first.
    const server = listen(config);
    parts.defer(() => server.stop(true));
    let isStopping = false;
    const loading = Pages.load(join(root, "static"), config.signup);
    loading.catch(() => {}); // awaited below; an unhandled rejection would orphan the database
    const metrics = new Metrics({
      version,
      sockets: () => hub.socketCount,
      users: () => hub.userCount,
      pendingSends: () => chat.pendingCount,
      busSent: () => bus.sent,
      unsentBytes: () => unsent.bytes,
      usage,
    });
    parts.defer(metrics.measureLag());
    const { querySeconds } = metrics;
    const pod = newPodName();
    const name = sessionNameOf(pod);
    store = await openStore(config, {
      root,
      name,
      max: POOL_MAX,
      connections: POOL_MAX + WRITER_MAX + busConnections(config.bus),
      log,
      say,
      onLost() {
        metrics.dbLosses.add();
        void epochs.check();
      },
      onStatement: (ms) => querySeconds.rest.observe(ms / 1_000),
    });
    parts.use(store);
    const { db, target, secrets, identity } = store;
    await rehearse(target, name);
    const epochs = new EpochWatch({ db, log, changed: closeAllSockets });
    parts.defer(() => epochs.stop());
    const skeletons = new SkeletonFiller({ db, log });
    parts.defer(() => skeletons.stop());
    await Promise.race([skeletons.fill(), Bun.sleep(FILLED_BEFORE_MS)]);
    const writer = new Database({
      target,
      name,
      max: WRITER_MAX,
      log,
      parameters: WRITER_PARAMETERS,
      onLost: () => metrics.dbLosses.add(),
      onStatement: (ms) => querySeconds.messages.observe(ms / 1_000),
    });
    parts.defer(() => writer.end());
    await checkStores(writer);
    const hub = new Hub();
    const unsent = new UnsentBudget({
      maxBytes: config.unsentMax ?? defaultBudget(options.memoryBytes ?? Number.POSITIVE_INFINITY),
      log,
      cuts: metrics.unsentCuts,
    });
    await epochs.start();
    const dropped = (reason: BusDrop) => metrics.busDrops.add(reason);
    const bus = await openBus(config.bus, { db, target, name, pod, log, dropped });
    parts.defer(() => bus.stop());
    const delivery = new Delivery({ hub, bus });
    const registry = new PresenceRegistry({ db, bus, log, changed: (...change) => presence.notifyWatchers(...change) });
    parts.defer(() => registry.stop());
    const blocked = new BlockedPairs({ db });
    parts.defer(() => blocked.stop());
    const presence = new PresenceSubscriptions({ db, registry, blocked });
    parts.defer(() => presence.stop());
    const resync = new Resync({ db, hub, log });
    parts.defer(() => resync.stop());
    const unreachablePods = new UnreachablePods({ db, bus, log, resync, alert: () => void bus.alertOlderPods() });
    parts.defer(() => unreachablePods.stop());
    const limits = new Limits(config.rateLimit ? config.limits : undefined, (limit) => metrics.rateLimited.add(limit));
    const readiness = new Readiness({ db, writer, isFailing: () => chat.isFailing, log });
    const relationships = new Relationships({ db, delivery, bus, presence });
    const quota = config.rateLimit
      ? new TextQuota({ db, maxBytes: config.limits.bytes, log, refused: () => metrics.rateLimited.add("bytes") })
      : undefined;
    parts.defer(async () => quota?.stop());
    const receipts = new Receipts({ db, delivery, log });
    parts.defer(() => receipts.stop());
    const chat = new Chat({ db, writer, hub, bus, delivery, receipts, relationships, log, limits, quota, metrics });
    parts.defer(() => chat.stop());
    const drafts = new Drafts({ db, delivery, limits });
    const trust: Trust = {
      proxies: typeof config.trustProxy === "string" ? config.trustProxy : new Networks(config.trustProxy),
      origins: config.allowedOrigins,
      peer: (request) => server.requestIP(request)?.address,
    };
    if (typeof config.trustProxy !== "string" && config.trustProxy.some(coversPrivateRange)) {
      log.warn(
        "TRUST_PROXY lists a whole private range: clients in it can forge the address that rate limits count; list only the proxies' addresses or subnet",
        { networks: config.trustProxy.filter(coversPrivateRange).join(", ") },
      );
    }
    const pages = await loading;
    const otherVersions = new OtherVersions({ db, log });
    await otherVersions.save(pages.version, pages.files);
    const renewals = new SessionRenewals({ db, log });
    parts.defer(() => renewals.stop());
    const signupPolicy = new SignupPolicy({ db, signup: config.signup, secrets, identity });
    const cookies = new Cookies({ secrets, trust });
    const sessions = new Sessions({
      db,
      cookies,
      pages,
      limits,
      renewals,
      onEnd: (session) => delivery.endSession(session),
    });
    const passwords = new Passwords({ db, limits, failures: metrics.loginFailures });
    const login = new Login({
      db,
      sessions,
      passwords,
      cookies,
      pages,
      signupPolicy,
      trust,
      limits,
      onSignup: (username) => {
        presence.announceSignup(username);
        bus.publish([{ kind: "user", username }]);
      },
    });
    const purge = new AccountPurge({ db, log });
    parts.defer(() => purge.stop());
    const streams = new Streams({ log, unsent });
    const account = new Account({ sessions, login, passwords, relationships, db, purge, streams, trust });
    const people = new People({ sessions, db, registry, relationships, signupPolicy, streams, trust });
    const conversations = new Conversations({ sessions, db, registry, streams, trust });
    const messages = new Messages({ sessions, receipts, db, streams, trust });
    const sockets = socketHandlers({
      chat,
      receipts,
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
    parts.defer(() => sockets.stop());
    const sweeper = new SessionSweeper({ db, hub, renewals, log });
    parts.defer(() => sweeper.stop());
    await bus.start({
      deliver(event, from) {
        if (event.kind === "message" || event.kind === "frame") chat.relay(event);
        else if (event.kind === "end") hub.endSession(event.sessionId);
        else if (event.kind === "user") presence.announceSignup(event.username);
        else if (event.kind === "privacy") presence.setHidesLastSeen(event.nameKey, event.hidesLastSeen);
        else if (event.kind === "block") void presence.blockChanged(event.nameKeys);
        else registry.receive(event, from);
      },
      lost(pod) {
        metrics.busLosses.add();
        resync.schedule();
        registry.requestSnapshots(pod);
        sweeper.checkSoon();
        presence.scheduleBlockRefresh();
      },
      joined: (pod) => registry.podJoined(pod),
      vanished: (pod, graceful) => registry.podLeft(pod, graceful),
    });
    registry.start();
    unreachablePods.start();

    const files = new OpenFiles({
      limit: options.openFiles,
      inUse: filesInUse,
      closeIdle: () => server.closeIdleConnections(),
      log,
    });
    parts.defer(() => files.stop());

    server.reload({
      ...SERVER_OPTIONS,
      websocket: sockets.handlers,
      routes: routes({
        account,
        conversations,
        login,
        messages,
        otherVersions,
        pages,
        people,
        sessions,
        log,
        trust,
        version,
        beforeOpen: async ({ username }) => quota?.load(username),
        socketRefusal: () => {
          if (isStopping) return new ChatError("restarting", { retryAfter: 2 });
          if (!files.hasRoomFor(hub.socketCount)) return new ChatError("busy", { retryAfter: 5 });
          return undefined;
        },
        isReady: async () => !isStopping && (await readiness.isReady()),
        metrics,
        renderMetrics: (request, from) =>
          mayReadMetrics(request, from.requestIP(request)?.address, config.metricsToken)
            ? new Response(metrics.render(), {
                headers: { ...DATA_HEADERS, "Content-Type": "text/plain; version=0.0.4" },
              })
            : errorResponse(new ChatError("not_yours")),
      }),
      fetch(request) {
        const response = notFound(request, trust);
        metrics.unknownRoute.count(request.method, response.status, 0);
        return response;
      },
    });

    /**
     * After the database was restored, pages may show data that it lacks: all reconnect, or sign in
     * if their session is lost.
     */
    function closeAllSockets(): void {
      if (!isStopping) hub.closeWhere(CLOSE.restarting, () => true);
    }

    const stop: App["stop"] = async ({ hurried = false } = {}) => {
      isStopping = true;
      registry.announceShutdown();
      if (!hurried) await Bun.sleep(config.drainSeconds * 1_000);
      const drain = async () => {
        await chat.drain();
        await receipts.drain();
      };
      await drain();
      const open = [...hub.sockets()];
      for (let i = 0; i < open.length; i += CLOSES_PER_SLICE) {
        for (const socket of open.slice(i, i + CLOSES_PER_SLICE)) socket.close(CLOSE.restarting);
        await Bun.sleep(hurried ? 0 : 20);
      }
      await drain(); // messages that arrived meanwhile
      await drafts.drain();
      await disposeAll(parts, (error) => log.error("stopping a part failed", error));
    };
    const port = server.port ?? config.port;
    return {
      url: `http://${displayHost(config.host)}:${port}`,
      port,
      database: store.description,
      adminCode: await signupPolicy.codeToShow(),
      stop,
    };
  } catch (error) {
    await disposeAll(parts, (failure) => log.error("stopping a part failed", failure));
    throw store === undefined ? error : explain(error, store.target);
  }
}

/** What admin commands need, whether or not chatify is running. */
export interface AdminContext {
  readonly db: Database;
  readonly signupPolicy: SignupPolicy;
  /** Notifies the running pods. Pods that cannot be reached notice within a minute. */
  notifyPods(events: readonly BusEvent[]): Promise<void>;
  end(): Promise<void>;
}

/**
 * Opens the database as at startup, without serving. An embedded PostgreSQL is shared with a
 * running server.
 *
 * @throws EmbeddedError, DatabaseError
 */
export async function openAdminContext(
  config: Config,
  options: { root: string; log: Log; say: (line: string) => void },
): Promise<AdminContext> {
  const { root, log, say } = options;
  const name = `chatify-command-${crypto.randomUUID().slice(0, 8)}`;
  const store = await openStore(config, { root, name, max: 1, log, say });
  const { db, target, secrets, identity } = store;
  const end = async () => store[Symbol.asyncDispose]();
  try {
    await fillSkeletons(db, log);
  } catch (error) {
    await end();
    throw explain(error, target);
  }
  return {
    db,
    signupPolicy: new SignupPolicy({ db, signup: config.signup, secrets, identity }),
    async notifyPods(events) {
      try {
        await announce(config.bus, { db, target, name, log }, events);
      } catch (error) {
        log.warn("pods not notified, they will notice within a minute", { code: codeOf(error) });
      }
    },
    end,
  };
}
