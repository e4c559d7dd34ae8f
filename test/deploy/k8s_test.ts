/**
 * The manifests of k8s/: Kubernetes 1.34 accepts them, their names, ports, selectors and keys fit together, and they fit the program:
 * its settings, its routes, its image. What needs a cluster is not tested here.
 */

import { beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { loadConfig, SETTINGS } from "../../src/config.ts";
import { type Parts, paths } from "../../src/http/router.ts";
import { ROOT } from "../support/harness.ts";

// Manifests are looked into freely.
// oxlint-disable-next-line typescript/no-explicit-any
type Thing = any;

const K8S = join(ROOT, "k8s");
const OVERLAYS = readdirSync(join(K8S, "overlays")).toSorted();
const COMPONENTS = readdirSync(join(K8S, "components")).toSorted();
/** Kubernetes' own kinds, and those of who extends it. */
const PACKAGES: Readonly<Record<string, string>> = {
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
  "postgresql.cnpg.io": "@kubernetes-models/cloudnative-pg",
};

/** What `kubectl apply -f` would send: the objects of a directory's files, not of those below it. */
function applied(directory: string): Thing[] {
  const files = readdirSync(directory).filter((file) => /\.(ya?ml|json)$/.test(file));
  return files.flatMap((file) => read(join(directory, file)));
}

function read(file: string): Thing[] {
  const parsed = Bun.YAML.parse(readFileSync(file, "utf8"));
  return Array.isArray(parsed) ? parsed : [parsed];
}

/** Throws what Kubernetes would say, and for a field that it does not know and would drop without a word. */
async function validate(thing: Thing): Promise<void> {
  const [group, version] = thing.apiVersion.includes("/") ? thing.apiVersion.split("/") : ["", thing.apiVersion];
  const path = [PACKAGES[group] ?? "kubernetes-models", group, version, thing.kind].filter(Boolean).join("/");
  const { [thing.kind]: Model } = (await import(path)) as Record<string, new () => { validate(): void }>;
  const unread = new Set<string>();
  const model = new Model!();
  for (const [key, value] of Object.entries(thing)) Reflect.set(model, key, watch(value, key, unread)); // its constructor would read all
  model.validate();
  if (unread.size > 0) throw new Error(`no such fields: ${[...unread].join(", ")}`);
}

/** The same value, which takes from `unread` the paths of what is read: the validators are compiled, and read nothing but what they know. */
function watch(value: Thing, path: string, unread: Set<string>): Thing {
  if (typeof value !== "object" || value === null) return value;
  const inner = Array.isArray(value) ? [] : ({} as Thing);
  for (const [key, child] of Object.entries(value)) {
    unread.add(`${path}.${key}`);
    inner[key] = watch(child, `${path}.${key}`, unread);
  }
  return new Proxy(inner, {
    get(target, key) {
      unread.delete(`${path}.${String(key)}`);
      return target[key];
    },
  });
}

const named = (things: Thing[], kind: string, name: string): Thing => {
  const found = things.filter((thing) => thing.kind === kind && thing.metadata.name === name);
  expect(found, `${kind} ${name}`).toHaveLength(1);
  return found[0];
};
const ofKind = (things: Thing[], kind: string): Thing[] => things.filter((thing) => thing.kind === kind);
/** Pods as they would be made, by who makes them. */
const templates = (things: Thing[]): Thing[] => things.filter((thing) => thing.spec?.template?.spec?.containers);
const containersOf = ({ spec }: Thing): Thing[] => [
  ...(spec.template.spec.initContainers ?? []),
  ...spec.template.spec.containers,
];
/** Whether a selector picks the pods of a template. */
const picks = (labels: Record<string, string>, { spec }: Thing): boolean =>
  Object.entries(labels).every(([name, value]) => spec.template.metadata.labels[name] === value);

/** `kubectl kustomize`, or its own program, whichever is here. */
const KUSTOMIZE = Bun.which("kubectl")
  ? ["kubectl", "kustomize"]
  : Bun.which("kustomize")
    ? ["kustomize", "build"]
    : undefined;

function kustomize(directory: string): Thing[] {
  const { stdout, stderr, exitCode } = Bun.spawnSync([...KUSTOMIZE!, directory], { timeout: 30_000 });
  expect(exitCode, stderr.toString()).toBe(0);
  const parsed = Bun.YAML.parse(stdout.toString());
  return Array.isArray(parsed) ? parsed : [parsed];
}

/** Every set of objects that a host may apply, by name. */
const sets = new Map<string, Thing[]>();

beforeAll(() => {
  sets.set("k8s/", applied(K8S));
  if (!KUSTOMIZE) {
    console.warn(
      "NOT TESTED: what the overlays of k8s/ make of the manifests, since neither kubectl nor kustomize is here. " +
        "Only that their files parse, and name what is there.",
    );
    return;
  }
  sets.set("k8s/base", kustomize(join(K8S, "base")));
  for (const overlay of OVERLAYS) sets.set(`k8s/overlays/${overlay}`, kustomize(join(K8S, "overlays", overlay)));
});

describe("k8s/", () => {
  test("apply completely at once, by file or by kustomize, under documented names", () => {
    const names = (things: Thing[]) => things.map(({ kind, metadata }) => `${kind} ${metadata.name}`).toSorted();
    expect(names(sets.get("k8s/")!)).toEqual([
      "ConfigMap db-init",
      "Deployment chatify-deployment",
      "HorizontalPodAutoscaler chatify-hpa",
      "Job chatify-secret",
      "NetworkPolicy chatify",
      "NetworkPolicy chatify-secret",
      "NetworkPolicy db",
      "NetworkPolicy load-tester",
      "PodDisruptionBudget chatify-pdb",
      "Role chatify-secret",
      "RoleBinding chatify-secret",
      "Service chatify-service",
      "Service db",
      "ServiceAccount chatify-secret",
      "StatefulSet db",
    ]);
    if (KUSTOMIZE) expect(names(sets.get("k8s/base")!)).toEqual(names(sets.get("k8s/")!));
    expect(readdirSync(K8S)).toContain("deployment.yaml"); // the original demo's
    for (const name of ["service.yaml", "hpa.yaml"]) expect(readdirSync(K8S)).toContain(name);
  });

  test("read by kubectl is the same as read here", () => {
    if (!Bun.which("kubectl")) return;
    const { stdout } = Bun.spawnSync(["kubectl", "label", "--local", "-f", K8S, "a=b", "-o", "name"], {
      timeout: 30_000,
    });
    expect(stdout.toString().trim().split("\n")).toHaveLength(sets.get("k8s/")!.length);
  });

  test("is taken by Kubernetes 1.34, overlays and load test included", async () => {
    for (const [set, things] of [...sets, ["k8s/load-test", applied(join(K8S, "load-test"))] as const]) {
      for (const thing of things) {
        await validate(thing).catch((error: unknown) => {
          throw new Error(`${set}: ${thing.kind} ${thing.metadata?.name}: ${error}`);
        });
      }
    }
  });

  test("would not be taken with a field that does not exist, or has another type", async () => {
    const deployment = () => structuredClone(named(sets.get("k8s/")!, "Deployment", "chatify-deployment"));
    const newest = deployment();
    newest.spec.template.spec.hostnameOverride = "new-in-1-34";
    await validate(newest);
    const wrong: ((thing: Thing) => void)[] = [
      (thing) => (thing.spec.template.spec.containers[0].livenesProbe = {}),
      (thing) => (thing.spec.template.spec.terminationGracePeriodSeconds = "40"),
      (thing) => delete thing.spec.selector,
    ];
    for (const spoil of wrong) {
      const spoilt = deployment();
      spoil(spoilt);
      await expect(validate(spoilt), String(spoil)).rejects.toThrow();
    }
  });

  test("name no namespace, so that they fit any", () => {
    for (const things of sets.values()) for (const { metadata } of things) expect(metadata.namespace).toBeUndefined();
  });

  test("refer only to existing selectors, ports, Secrets and their keys, Services and volumes", () => {
    for (const [set, things] of sets) {
      for (const thing of templates(things)) {
        const at = `${set}: ${thing.kind} ${thing.metadata.name}`;
        if (thing.kind !== "Job") expect(picks(thing.spec.selector.matchLabels, thing), at).toBeTrue();
        const { spec } = thing.spec.template;
        const volumes = new Set([
          ...(spec.volumes ?? []).map(({ name }: Thing) => name),
          ...(thing.spec.volumeClaimTemplates ?? []).map(({ metadata }: Thing) => metadata.name),
        ]);
        for (const container of containersOf(thing)) {
          const ports = new Set((container.ports ?? []).map(({ name }: Thing) => name));
          for (const probe of ["startupProbe", "readinessProbe", "livenessProbe"]) {
            const { httpGet, tcpSocket } = container[probe] ?? {};
            const port = (httpGet ?? tcpSocket)?.port;
            if (port !== undefined) expect(ports, `${at} ${probe}`).toContain(port);
          }
          for (const { name } of container.volumeMounts ?? []) expect(volumes, at).toContain(name);
          for (const { name, valueFrom } of container.env ?? []) {
            const { secretKeyRef } = valueFrom ?? {};
            if (secretKeyRef) expect(SECRETS[secretKeyRef.name], `${at} ${name}`).toContain(secretKeyRef.key);
          }
        }
        // A headless one has no address while no pod is ready, and DNS caches keep that answer.
        if (thing.kind === "StatefulSet") {
          expect(named(things, "Service", thing.spec.serviceName).spec.clusterIP).toBeUndefined();
        }
      }
      for (const { metadata, spec } of ofKind(things, "Service")) {
        const behind = templates(things).filter((thing) => picks(spec.selector, thing));
        expect(behind, `${set}: Service ${metadata.name}`).toHaveLength(1);
        const open = containersOf(behind[0]).flatMap(({ ports = [] }) => ports.map(({ name }: Thing) => name));
        for (const { targetPort } of spec.ports) expect(open).toContain(targetPort);
      }
      for (const { spec } of ofKind(things, "HorizontalPodAutoscaler")) {
        named(things, spec.scaleTargetRef.kind, spec.scaleTargetRef.name);
      }
      for (const { spec } of ofKind(things, "PodDisruptionBudget")) {
        expect(templates(things).filter((thing) => picks(spec.selector.matchLabels, thing))).toHaveLength(1);
      }
      for (const { spec } of ofKind(things, "HTTPRoute")) {
        for (const { backendRefs } of spec.rules) {
          for (const { name, port } of backendRefs) {
            expect(named(things, "Service", name).spec.ports.map(({ port }: Thing) => port)).toContain(port);
          }
        }
      }
    }
  });

  test("allow only chatify to reach the database, and chatify no more than it needs", () => {
    for (const [set, things] of sets) {
      const policies = ofKind(things, "NetworkPolicy");
      const of = (labels: Record<string, string>) =>
        policies.filter(({ spec }) =>
          Object.entries(spec.podSelector.matchLabels).every(([name, value]) => labels[name] === value),
        );
      for (const thing of templates(things)) {
        expect(of(thing.spec.template.metadata.labels), `${set}: ${thing.metadata.name}`).toHaveLength(1);
      }
      const [chatify] = of({ app: "chatify" });
      expect(chatify.spec.ingress).toEqual([{ ports: [{ port: 8000, protocol: "TCP" }] }]);
      const may = chatify.spec.egress.map(({ to, ports }: Thing) => ({
        to: to?.[0].podSelector.matchLabels,
        ports: ports.map(({ port }: Thing) => port),
      }));
      const isHere = (component: string) => set.endsWith(`/${component}`) || set.endsWith("/everything");
      const database = isHere("cloudnative-pg") ? { "cnpg.io/cluster": "db" } : { app: "db" };
      const bus = isHere("valkey") ? [{ to: { app: "valkey" }, ports: [6379] }] : [];
      const names = { to: undefined, ports: [53, 53] };
      expect(of({ app: "chatify-secret" })[0].spec.ingress, set).toBeUndefined();
      expect(may, set).toEqual([{ to: database, ports: [5432] }, names, ...bus]);
      for (const app of ["db", "valkey"]) {
        for (const { spec } of of({ app })) {
          expect(spec.policyTypes).toEqual(["Ingress", "Egress"]);
          expect(spec.egress).toBeUndefined();
          expect(spec.ingress[0].from).toEqual([{ podSelector: { matchLabels: { app: "chatify" } } }]);
        }
      }
    }
  });

  test("runs every pod as Pod Security's restricted profile asks, and with a root that cannot be written", () => {
    for (const [set, things] of [...sets, ["k8s/load-test", applied(join(K8S, "load-test"))] as const]) {
      for (const thing of templates(things)) {
        const at = `${set}: ${thing.kind} ${thing.metadata.name}`;
        const { spec } = thing.spec.template;
        expect(spec.securityContext.runAsNonRoot, at).toBeTrue();
        expect(spec.securityContext.runAsUser, at).toBeGreaterThan(0);
        expect(spec.securityContext.seccompProfile, at).toEqual({ type: "RuntimeDefault" });
        expect(spec.automountServiceAccountToken, at).toBe(thing.metadata.name === "chatify-secret");
        for (const field of ["hostNetwork", "hostPID", "hostIPC"]) expect(spec[field], at).toBeUndefined();
        for (const volume of spec.volumes ?? [])
          expect(Object.keys(volume).toSorted(), at).toEqual([
            volume.name === "init" ? "configMap" : "emptyDir",
            "name",
          ]);
        for (const { securityContext, resources, ports = [] } of containersOf(thing)) {
          expect(securityContext, at).toEqual({
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ["ALL"] },
          });
          expect(Object.keys(resources.requests).toSorted(), at).toEqual(["cpu", "memory"]);
          expect(Object.keys(resources.limits), at).toEqual(["memory"]);
          for (const { hostPort } of ports) expect(hostPort, at).toBeUndefined();
        }
      }
    }
  });
});

/** Secrets and their keys: of the Job in secret.yaml, of CloudNativePG, and of an admin who wants metrics. */
const SECRETS: Readonly<Record<string, readonly string[]>> = {
  "chatify-secret": ["POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB", "DATABASE_URL", "VALKEY_PASSWORD"],
  "db-app": ["uri"],
  "chatify-metrics": ["METRICS_TOKEN"],
};

describe("the passwords of k8s/", () => {
  test("are kept from pg_isready, whatever the database's address looks like", () => {
    const pods = named(sets.get("k8s/")!, "Deployment", "chatify-deployment").spec.template.spec;
    const fake = mkdtempSync(join(tmpdir(), "chatify-arguments-"));
    using _ = { [Symbol.dispose]: () => rmSync(fake, { recursive: true }) };
    writeFileSync(join(fake, "pg_isready"), `#!/bin/sh\nprintf '%s\\n' "$@"\n`, { mode: 0o755 });
    const asked = (DATABASE_URL: string) => {
      const env = { PATH: `${fake}:${Bun.env["PATH"]}`, DATABASE_URL };
      return Bun.spawnSync(pods.initContainers[0].command, { env }).stdout.toString().split("\n")[0];
    };
    for (const [address, without] of [
      ["postgres://ann:hunter22@db:5432/chat", "postgres://ann@db:5432/chat"],
      ["postgres://ann:a:hunter22@[::1],db:5433/chat?user=b@c", "postgres://ann@[::1],db:5433/chat?user=b@c"],
      ["postgres://ann:/hunter22@db/chat", "postgres://ann@db/chat"],
      ["postgres://ann:?#@hunter22@db/chat", "postgres://ann@db/chat"],
      [
        "postgres://db/chat?user=ann&password=hunter22&sslmode=require",
        "postgres://db/chat?user=ann&password=&sslmode=require",
      ],
      ["postgres://db/chat?sslpassword=hunter22", "postgres://db/chat?sslpassword="],
      ["host=db password=hunter22 user=ann", "host=db password='' user=ann"],
      ["host=db password = 'it\\'s hunter22' user=ann", "host=db password = '' user=ann"],
      ["host=db user=ann", "host=db user=ann"],
    ] as const) {
      expect(asked(address)).toBe(`--dbname=${without}`);
    }
  });

  const job = () => named(sets.get("k8s/")!, "Job", "chatify-secret").spec.template.spec;
  const script = () => job().containers[0].args[0] as string;

  /** Runs the Job's script against a Kubernetes of one Secret. @returns the Secret afterwards */
  async function run(data: Record<string, string> | undefined): Promise<{ data: Record<string, string>; out: string }> {
    let secret: { metadata: { resourceVersion: string }; data: Record<string, string> } | undefined;
    const encoded = (values: Record<string, string>) =>
      Object.fromEntries(Object.entries(values).map(([key, value]) => [key, btoa(value)]));
    if (data) secret = { metadata: { resourceVersion: "7" }, data: encoded(data) };
    await using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      async fetch(request) {
        const { pathname } = new URL(request.url);
        expect(request.headers.get("authorization")).toBe("Bearer the-token");
        if (request.method === "GET") return secret ? Response.json(secret) : Response.json({}, { status: 404 });
        const body = (await request.json()) as Thing;
        if (request.method === "POST") {
          expect([pathname, body.metadata.name]).toEqual(["/api/v1/namespaces/chat/secrets", "chatify-secret"]);
        } else expect([request.method, body.metadata.resourceVersion]).toEqual(["PATCH", "7"]);
        secret = { metadata: { resourceVersion: "8" }, data: { ...secret?.data, ...encoded(body.stringData) } };
        return Response.json(secret);
      },
    });
    const account = mkdtempSync(join(tmpdir(), "chatify-account-"));
    using _ = { [Symbol.dispose]: () => rmSync(account, { recursive: true }) };
    const files = { token: "the-token", "ca.crt": "", namespace: "chat" };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(account, name), text);
    const text = script()
      .replace("/var/run/secrets/kubernetes.io/serviceaccount/", `${account}/`)
      .replace("https://", "http://")
      .replace(", tls: { ca }", "");
    const env = { KUBERNETES_SERVICE_HOST: "127.0.0.1", KUBERNETES_SERVICE_PORT: `${server.port}` };
    const child = Bun.spawn([process.execPath, "--eval", text], { env, stdout: "pipe", stderr: "pipe" });
    const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    expect(await child.exited, err).toBe(0);
    const values = Object.entries(secret!.data).map(([key, value]) => [key, atob(value)]);
    return { data: Object.fromEntries(values), out };
  }

  test("are made at random by a Job, and complete", async () => {
    const { data, out } = await run(undefined);
    expect(Object.keys(data).toSorted()).toEqual([...SECRETS["chatify-secret"]!].toSorted());
    const { DATABASE_URL, POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, VALKEY_PASSWORD } = data;
    expect(POSTGRES_PASSWORD).toMatch(/^[0-9a-f]{48}$/);
    expect(VALKEY_PASSWORD).toMatch(/^[0-9a-f]{48}$/);
    expect(VALKEY_PASSWORD).not.toBe(POSTGRES_PASSWORD);
    expect(loadConfig({ DATABASE_URL: DATABASE_URL! }).databaseUrl).toBe(DATABASE_URL!);
    expect(DATABASE_URL).toBe(`postgresql://${POSTGRES_USER}:${POSTGRES_PASSWORD}@db:5432/${POSTGRES_DB}`);
    for (const secret of [POSTGRES_PASSWORD, VALKEY_PASSWORD]) expect(out).not.toContain(secret!);
  });

  test("that exist are kept, and missing ones are added", async () => {
    const before = {
      POSTGRES_USER: "chatuser",
      POSTGRES_PASSWORD: "admin123",
      POSTGRES_DB: "chatdb",
      DATABASE_URL: "postgresql://chatuser:admin123@db:5432/chatdb",
    };
    const { data } = await run(before);
    expect(data).toMatchObject(before);
    expect((await run(data)).data).toEqual(data);
    const own = await run({ POSTGRES_PASSWORD: "p@ss/word" });
    expect(own.data["DATABASE_URL"]).toBe("postgresql://chatuser:p%40ss%2Fword@db:5432/chatdb");
  });

  test("are not published in any file, and the Job may do no more than make them", () => {
    for (const file of readdirSync(K8S, { recursive: true, encoding: "utf8" }).filter((name) =>
      name.endsWith(".yaml"),
    )) {
      const text = readFileSync(join(K8S, file), "utf8");
      expect(text, file).not.toContain("admin123");
      expect(text, file).not.toMatch(/kind: Secret$/m);
    }
    expect(named(sets.get("k8s/")!, "Role", "chatify-secret").rules).toEqual([
      { apiGroups: [""], resources: ["secrets"], verbs: ["create"] },
      { apiGroups: [""], resources: ["secrets"], resourceNames: ["chatify-secret"], verbs: ["get", "patch"] },
    ]);
    const users = templates(sets.get("k8s/")!).filter(({ spec }) => spec.template.spec.serviceAccountName);
    expect(users.map(({ metadata }) => metadata.name)).toEqual(["chatify-secret"]);
  });

  test("are in no arguments of a program, and the database is set up as with Compose", () => {
    for (const things of sets.values()) {
      for (const container of templates(things).flatMap(containersOf)) {
        const words = [...(container.command ?? []), ...(container.args ?? [])].join(" ");
        expect(words).not.toMatch(
          /dbname="?\$DATABASE_URL|--requirepass|PASSWORD"? --|\$\(\w*(PASSWORD|SECRET|TOKEN|DATABASE_URL)/,
        );
      }
    }
    const { data } = named(sets.get("k8s/")!, "ConfigMap", "db-init");
    expect(data["init_database.sh"]).toBe(readFileSync(join(ROOT, "compose", "init_database.sh"), "utf8"));
  });
});

describe("k8s/ and the program", () => {
  const chatify = (set = "k8s/") => named(sets.get(set)!, "Deployment", "chatify-deployment").spec.template.spec;

  test("agree on the settings", () => {
    for (const set of sets.keys()) {
      for (const { name, value } of chatify(set).containers[0].env) {
        expect(Object.keys(SETTINGS), set).toContain(name);
        if (value !== undefined) loadConfig({ [name]: value }); // throws for values that it rejects
      }
    }
    const { ports } = named(sets.get("k8s/")!, "Service", "db").spec;
    expect(ports.map(({ port }: Thing) => port)).toEqual([5432]);
  });

  test("agree on the port, and the load tester finds it at http://chatify-service", () => {
    expect(chatify().containers[0].ports).toEqual([{ name: "http", containerPort: Number(SETTINGS.PORT.default) }]);
    const { ports } = named(sets.get("k8s/")!, "Service", "chatify-service").spec;
    expect(ports).toMatchObject([{ port: 80, targetPort: "http" }]);
    const [tester] = applied(join(K8S, "load-test"));
    const command = tester.spec.template.spec.containers[0].command.at(-1);
    expect(command).toContain("wget -q -O - http://chatify-service ");
    const policy = named(sets.get("k8s/")!, "NetworkPolicy", "load-tester");
    expect(picks(policy.spec.podSelector.matchLabels, tester)).toBeTrue();
  });

  test("agree on the paths of the probes: only the liveness of a pod does not hang on the database", () => {
    const known = Object.keys(paths({} as Parts)); // nothing is called
    const [container] = chatify().containers;
    const asked = ["startupProbe", "readinessProbe", "livenessProbe"].map((probe) => container[probe].httpGet.path);
    expect(asked).toEqual(["/readyz", "/readyz", "/healthz"]);
    expect(known).toEqual(expect.arrayContaining([...asked, "/metrics", "/ws/:username"]));
    if (!KUSTOMIZE) return;
    const monitor = named(sets.get("k8s/overlays/service-monitor")!, "ServiceMonitor", "chatify");
    expect(known).toContain(monitor.spec.endpoints[0].path);
  });

  test("give a pod longer to stop than it may take", () => {
    const { containers, terminationGracePeriodSeconds } = chatify();
    expect(terminationGracePeriodSeconds).toBe(40);
    const drain = containers[0].env.find(({ name }: Thing) => name === "DRAIN_SECONDS").value;
    expect(Number(drain)).toBeGreaterThanOrEqual(5); // Services and gateways take some seconds to notice
    const { readinessProbe } = containers[0];
    expect(readinessProbe.periodSeconds * readinessProbe.failureThreshold).toBeLessThanOrEqual(Number(drain));
    const [, deadline] = /STOP_DEADLINE_MS = ([\d_]+)/.exec(readFileSync(join(ROOT, "src/main.ts"), "utf8"))!;
    expect(terminationGracePeriodSeconds * 1_000).toBeGreaterThan(Number(deadline!.replaceAll("_", "")) + 5_000);
  });

  test("scale from one to five by half of a request of 100m, up fast and down one a minute", () => {
    const { spec } = named(sets.get("k8s/")!, "HorizontalPodAutoscaler", "chatify-hpa");
    expect([spec.minReplicas, spec.maxReplicas]).toEqual([1, 5]);
    expect(spec.metrics).toEqual([
      { type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 50 } } },
    ]);
    expect(chatify().containers[0].resources.requests.cpu).toBe("100m");
    expect(spec.behavior.scaleUp.stabilizationWindowSeconds).toBe(0);
    expect(spec.behavior.scaleDown).toEqual({
      stabilizationWindowSeconds: 300,
      policies: [{ type: "Pods", value: 1, periodSeconds: 60 }],
    });
    const deployment = named(sets.get("k8s/")!, "Deployment", "chatify-deployment");
    expect(deployment.spec.replicas).toBeUndefined(); // each apply would undo what the autoscaler decided
    expect(deployment.spec.strategy.rollingUpdate).toEqual({ maxUnavailable: 0, maxSurge: 1 });
  });

  test("agree with the image on its user and its port", async () => {
    const text = await Bun.file(join(ROOT, "Dockerfile")).text();
    const { securityContext, containers } = chatify();
    expect(text).toContain(`USER ${securityContext.runAsUser}:${securityContext.runAsGroup}\n`);
    expect(text).toContain(`EXPOSE ${containers[0].ports[0].containerPort}\n`);
    expect(text).toMatch(/^CMD \["bun", "src\/main.ts"\]$/m); // no command of its own here
    expect([containers[0].image, containers[0].command, containers[0].args]).toEqual(["chatify", undefined, undefined]);
  });
});

describe("overlays", () => {
  const overlay = (name: string) => sets.get(`k8s/overlays/${name}`)!;

  test("name files and objects that are there, one component each, and all of them together", () => {
    expect(COMPONENTS).toEqual(["cloudnative-pg", "gateway", "hpa-connections", "service-monitor", "valkey"]);
    expect(OVERLAYS).toEqual([...COMPONENTS, "everything"].toSorted());
    for (const name of OVERLAYS) {
      const [{ resources, components }] = read(join(K8S, "overlays", name, "kustomization.yaml"));
      expect(resources, name).toEqual(["../../base"]);
      const own = name === "everything" ? COMPONENTS : [name];
      expect(components, name).toEqual(own.map((component) => `../../components/${component}`));
    }
    for (const name of COMPONENTS) {
      const directory = join(K8S, "components", name);
      const [{ resources = [], patches }] = read(join(directory, "kustomization.yaml"));
      for (const resource of resources) read(join(directory, resource));
      for (const { patch, target } of patches ?? []) {
        const [{ kind, metadata }] = target
          ? [{ kind: target.kind, metadata: target }]
          : [Bun.YAML.parse(patch) as Thing];
        named(sets.get("k8s/")!, kind, metadata.name);
      }
    }
    const [{ resources }] = read(join(K8S, "base", "kustomization.yaml"));
    const files = readdirSync(join(K8S, "base")).filter((file) => file !== "kustomization.yaml");
    expect(resources.toSorted()).toEqual(files.toSorted());
    expect(
      readdirSync(K8S)
        .filter((file) => file.endsWith(".yaml"))
        .toSorted(),
    ).toEqual(files.toSorted());
  });

  test.skipIf(!KUSTOMIZE)("valkey leads every pod to one Valkey", () => {
    const things = overlay("valkey");
    const { env } = named(things, "Deployment", "chatify-deployment").spec.template.spec.containers[0];
    const { value } = env.find(({ name }: Thing) => name === "BUS");
    const { hostname, port } = new URL(value);
    const service = named(things, "Service", hostname);
    expect(service.spec.ports.map(({ port }: Thing) => String(port))).toEqual([port]);
    expect(named(things, "Deployment", "valkey").spec.replicas).toBe(1);
  });

  test.skipIf(!KUSTOMIZE)("gateway never cuts a WebSocket, and believes no address until an admin names one", () => {
    const { rules } = named(overlay("gateway"), "HTTPRoute", "chatify").spec;
    const sockets = rules.find(({ matches }: Thing) => matches[0].path.value === "/ws");
    expect(sockets.timeouts).toEqual({ request: "0s", backendRequest: "0s" });
    const { env } = named(overlay("gateway"), "Deployment", "chatify-deployment").spec.template.spec.containers[0];
    expect(env.map(({ name }: Thing) => name)).not.toContain("TRUST_PROXY");
  });

  test.skipIf(!KUSTOMIZE)("cloudnative-pg replaces the single PostgreSQL with the operator's cluster", () => {
    const things = overlay("cloudnative-pg");
    expect([...ofKind(things, "StatefulSet"), ...ofKind(things, "ConfigMap")]).toEqual([]);
    const { spec } = named(things, "Cluster", "db");
    expect(spec.instances).toBe(3);
    expect(spec.postgresql.synchronous).toEqual({ method: "any", number: 1, dataDurability: "required" });
    for (const { name, env } of containersOf(named(things, "Deployment", "chatify-deployment"))) {
      const { valueFrom } = env.find(({ name }: Thing) => name === "DATABASE_URL");
      expect(valueFrom.secretKeyRef, name).toEqual({ name: "db-app", key: "uri" });
    }
  });

  test.skipIf(!KUSTOMIZE)(
    "service-monitor sends the pods' token, and hpa-connections uses a metric of /metrics",
    async () => {
      const things = overlay("service-monitor");
      const [endpoint] = named(things, "ServiceMonitor", "chatify").spec.endpoints;
      const { env } = named(things, "Deployment", "chatify-deployment").spec.template.spec.containers[0];
      const { secretKeyRef } = env.find(({ name }: Thing) => name === "METRICS_TOKEN").valueFrom;
      expect(endpoint.authorization.credentials).toEqual({ name: secretKeyRef.name, key: secretKeyRef.key });
      expect(secretKeyRef.optional).toBeFalse();
      const { selector } = named(things, "ServiceMonitor", "chatify").spec;
      const watched = ofKind(things, "Service").filter(({ metadata }) =>
        Object.entries(selector.matchLabels).every(([name, value]) => metadata.labels[name] === value),
      );
      expect(watched.map(({ metadata }) => metadata.name)).toEqual(["chatify-service"]);
      const { metrics } = named(overlay("hpa-connections"), "HorizontalPodAutoscaler", "chatify-hpa").spec;
      expect(metrics).toHaveLength(2);
      const source = readFileSync(join(ROOT, "src/metrics.ts"), "utf8");
      expect(source).toContain(`gauge("${metrics[1].pods.metric.name}"`);
    },
  );
});
