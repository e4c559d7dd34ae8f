/**
 * The composition root: constructs all parts, serves, and stops them in reverse order. The
 * routes and the store construct their own parts.
 */

import { join } from "node:path";

import { AccountPurge } from "./accounts/account_purge.ts";
import { Limits } from "./accounts/limits.ts";
import { SessionRenewals } from "./accounts/session_renewals.ts";
import { SessionSweeper } from "./accounts/session_sweeper.ts";
import { SignupPolicy } from "./accounts/signup_policy.ts";
import { Changes } from "./chat/changes.ts";
import { Chat } from "./chat/chat.ts";
import { Drafts } from "./chat/drafts.ts";
import { Memberships } from "./chat/memberships.ts";
import { Profiles } from "./chat/profiles.ts";
import { Receipts } from "./chat/receipts.ts";
import { Relationships } from "./chat/relationships.ts";
import { socketHandlers } from "./chat/socket.ts";
import { TextQuota } from "./chat/text_quota.ts";
import { newPodName } from "./cluster/bus.ts";
import { busConnections, openBus } from "./cluster/open_bus.ts";
import type { Config } from "./config.ts";
import { applicationNameOf } from "./db/pods.ts";
import { Readiness } from "./db/readiness.ts";
import { openServingStore, type ServingStore } from "./db/serving_store.ts";
import { explain } from "./db/start_failure.ts";
import { Delivery } from "./delivery/delivery.ts";
import { Hub } from "./delivery/hub.ts";
import { Resync } from "./delivery/resync.ts";
import { UnreachablePods } from "./delivery/unreachable_pods.ts";
import { defaultBudget, UnsentBudget } from "./delivery/unsent_budget.ts";
import { ChatError } from "./errors.ts";
import { FileSweeper } from "./files/file_sweeper.ts";
import { PostgresChunks } from "./files/postgres_chunks.ts";
import { PreviewCache } from "./files/preview_cache.ts";
import { S3Chunks } from "./files/s3_chunks.ts";
import { Stores } from "./files/stores.ts";
import { Uploads } from "./files/uploads.ts";
import { httpRoutes } from "./http/http_routes.ts";
import { displayHost, listen, SERVER_OPTIONS } from "./http/listen.ts";
import { OpenFiles } from "./http/open_files.ts";
import { OtherVersions } from "./http/other_versions.ts";
import { Pages } from "./http/pages.ts";
import { trustOf } from "./http/trust.ts";
import type { Log } from "./log.ts";
import { type BusDrop, Metrics, type Usage } from "./metrics.ts";
import { BlockedPairs } from "./presence/blocked_pairs.ts";
import { PresenceRegistry } from "./presence/registry.ts";
import { PresenceSubscriptions } from "./presence/subscriptions.ts";
import { CLOSE } from "./protocol.ts";
import { disposeAll } from "./util/disposal.ts";
import { isElected } from "./util/election.ts";
import { ImageDecoders } from "./util/image_decoders.ts";

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
  let store: ServingStore | undefined;
  try {
    // The port first: a second start in the same directory must fail before it touches the database
    // of the first.
    const server = listen(config);
    parts.defer(() => server.stop(true));
    let isStopping = false;
    const loading = Pages.load(join(root, "static"), config.signup);
    loading.catch(() => {}); // awaited below; an unhandled rejection would orphan the database
    const hub = new Hub();
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
    const pod = newPodName();
    const applicationName = applicationNameOf(pod);
    store = await openServingStore(config, {
      root,
      name: applicationName,
      connections: busConnections(config.bus),
      metrics,
      log,
      say,
      restored: closeAllSockets,
    });
    parts.use(store);
    const { db, writer, target, secrets, databaseId, epochWatch } = store;
    const unsent = new UnsentBudget({
      maxBytes: config.unsentMax ?? defaultBudget(options.memoryBytes ?? Number.POSITIVE_INFINITY),
      log,
      disconnects: metrics.stalledDisconnects,
    });
    const dropped = (reason: BusDrop) => metrics.busDrops.add(reason);
    const bus = parts.adopt(
      await openBus(config.bus, { db, target, name: applicationName, pod, log, dropped }),
      stopPart,
    );
    const delivery = new Delivery({ hub, bus });
    const refresh = (lookBackMs: number) => profiles.refresh(lookBackMs);
    const resync = parts.adopt(new Resync({ db, hub, log, refresh }), stopPart);
    const alertOlderPods = () => void bus.alertOlderPods();
    const unreachablePods = parts.adopt(new UnreachablePods({ db, bus, log, resync, alertOlderPods }), stopPart);
    const registry = parts.adopt(
      new PresenceRegistry({ db, bus, log, changed: (...change) => presence.notifyWatchers(...change) }),
      stopPart,
    );
    const blockedPairs = parts.adopt(new BlockedPairs({ db }), stopPart);
    const presence = parts.adopt(new PresenceSubscriptions({ db, registry, blockedPairs }), stopPart);
    const limits = new Limits(config.rateLimit ? config.limits : undefined, (limit) => metrics.rateLimited.add(limit));
    const profiles = new Profiles({ db, hub, bus, presence, log });
    const memberships = new Memberships({ db, delivery });
    const relationships = new Relationships({ db, delivery, bus, presence });
    const rejected = () => metrics.rateLimited.add("bytes");
    const quota = config.rateLimit
      ? parts.adopt(new TextQuota({ db, maxBytes: config.limits.bytes, log, rejected }), stopPart)
      : undefined;
    const receipts = parts.adopt(new Receipts({ db, delivery, log }), stopPart);
    const shared = { db, hub, bus, delivery, receipts, relationships, log, limits, quota, metrics };
    const chat = parts.adopt(new Chat({ ...shared, writer }), stopPart);
    const windows = { editWindow: config.editWindow, deleteWindow: config.deleteWindow };
    const changes = parts.adopt(new Changes({ ...shared, windows }), stopPart);
    const drafts = new Drafts({ db, delivery, limits });
    const renewals = parts.adopt(new SessionRenewals({ db, log }), stopPart);
    const sweeper = parts.adopt(new SessionSweeper({ db, hub, renewals, log }), stopPart);
    const purge = parts.adopt(new AccountPurge({ db, log }), stopPart);
    const postgresChunks = new PostgresChunks(db);
    const s3Chunks = config.fileStore && new S3Chunks(config.fileStore, { log });
    const stores = new Stores(s3Chunks ? [s3Chunks, postgresChunks] : [postgresChunks]);
    const decoders = new ImageDecoders();
    const { fileMax, filesQuota } = config;
    const uploads = new Uploads({ db, stores, decoders, metrics, fileMax, filesQuota });
    parts.adopt(new FileSweeper({ db, stores, log, isElected: () => isElected(bus) }), stopPart);
    const signupPolicy = new SignupPolicy({ db, signup: config.signup, secrets, databaseId });
    const readiness = new Readiness({ db, writer, isFailing: () => chat.isFailing, log });
    const pages = await loading;
    const otherVersions = new OtherVersions({ db, log });
    await otherVersions.save(pages.version, pages.files);
    const epoch = () => epochWatch.epoch;
    const state = { epoch, version: pages.version, windows, fileMax };
    const socketParts = { ...shared, chat, changes, drafts, presence, profiles, unsent, ...state };
    const sockets = parts.adopt(socketHandlers(socketParts), stopPart);
    await bus.start({
      deliver(event, from) {
        if (event.kind === "message" || event.kind === "frame") chat.relay(event);
        else if (event.kind === "end") hub.endSession(event.sessionId);
        else if (event.kind === "user") presence.announceSignup(event.username);
        else if (event.kind === "privacy") presence.setHidesLastSeen(event.nameKey, event.hidesLastSeen);
        else if (event.kind === "block") void presence.blockChanged(event.nameKeys);
        else if (event.kind === "profile") profiles.show(event);
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
      left: (pod, graceful) => registry.podLeft(pod, graceful),
    });
    registry.start();
    unreachablePods.start();
    const closeIdle = () => server.closeIdleConnections();
    const files = parts.adopt(new OpenFiles({ limit: options.openFiles, inUse: filesInUse, closeIdle, log }), stopPart);
    server.reload({
      ...SERVER_OPTIONS,
      websocket: sockets.handlers,
      ...httpRoutes({
        ...shared,
        decoders,
        memberships,
        otherVersions,
        pages,
        presence,
        previews: new PreviewCache(stores),
        profiles,
        purge,
        registry,
        renewals,
        secrets,
        signupPolicy,
        stores,
        unsent,
        uploads,
        version,
        trust: trustOf(config, { server, log }),
        metricsToken: config.metricsToken,
        beforeOpen: async ({ username }) => quota?.load(username),
        socketRejection: () => {
          if (isStopping) return new ChatError("restarting", { retryAfter: 2 });
          if (!files.hasRoomFor(hub.socketCount)) return new ChatError("busy", { retryAfter: 5 });
          return undefined;
        },
        isReady: async () => !isStopping && (await readiness.isReady()),
      }),
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
      await Promise.all([chat.drain(), changes.drain()]);
      await hub.closeAll(CLOSE.restarting, { pauseMs: hurried ? 0 : 20 });
      await chat.drain(); // marks noted meanwhile
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

function stopPart(part: { stop(): void | Promise<void> }): void | Promise<void> {
  return part.stop();
}
