/**
 * The autoscaler without a cluster: containers of `docker-compose.yml` stand for pods, HAProxy for `chatify-service`, and `k8s/hpa.yaml`
 * decides by its own formula, from the CPU that the containers really use. Load testers come and go, people chat all the time; the fault run's
 * checker looks on. `rehearsal` lets time pass ten times as fast, `rehearsal-real` as it does, and draws docs/autoscaling.svg.
 */

import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { History } from "../../bench/chaos/history.ts";
import { SESSION_SECRET } from "../../bench/people.ts";
import { percentile } from "../../bench/statistics.ts";
import { freePort, ROOT } from "../harness.ts";
import { Autoscaler, type Pod, type Spec, SYNC_MS } from "./autoscaler.ts";
import { picture, type Sample } from "./autoscaling_picture.ts";
import { addressOf, type Compose, docker, healthy, inspect, run } from "./docker.ts";
import { people, type Proof, type Stage } from "./proof.ts";

const PEOPLE = 15;
const RATE = 5;
const TESTERS = 5;
/** The load tester of the original demo, as k8s/load-test/ has it; each has a part of a core, or five would leave the others none. */
const LOOP = "while true; do wget -q -O - http://proxy:8080 >/dev/null && echo page || echo failed; done";
const TESTER_CPUS = "0.3";
/** As k8s/ has it, shorter by what a proxy that asks each second notices sooner. */
const DRAIN_SECONDS = "2";
const BACK_MS = 10_000;
const ACK_WINDOW_MS = 5_000;
const CLOCK_TICK_MS = 10; // USER_HZ is 100 on every Linux that Docker runs on
const CALM_MS = 60_000;
const FULL_MS = 90_000;

const { spec } = Bun.YAML.parse(readFileSync(join(ROOT, "k8s", "hpa.yaml"), "utf8")) as { spec: Spec };
const REQUEST_MILLI = 100; // of k8s/deployment.yaml; test/k8s_test.ts holds it there

export const rehearsal: Proof = {
  about:
    "the autoscaler's formula, ten times as fast: one pod, five, one, while people chat; nothing lost, all back within 10 s",
  run: (stage) => rehearse(stage, 10),
};

export const rehearsalReal: Proof = {
  about: "the same in the time that it takes, a quarter of an hour; draws docs/autoscaling.svg",
  onlyWhenAsked: true,
  run: (stage) => rehearse(stage, 1, join(ROOT, "docs", "autoscaling.svg")),
};

async function rehearse({ tally, compose, provide, name, seed }: Stage, speed: number, file?: string): Promise<void> {
  await provide("postgres:18", "valkey/valkey:8", "haproxy:3.2", "busybox");
  const [port, proxyPort] = [freePort(), freePort()];
  const project = compose("rehearsal", {
    PORT: `${port}`,
    PROXY_PORT: `${proxyPort}`,
    BUS: "valkey://valkey:6379",
    SESSION_SECRET,
    DRAIN_SECONDS,
    RATE_LIMIT: "off", // the fault run's people do not pace themselves as a page does
  });
  const testers = Array.from({ length: TESTERS }, (_, i) => name(`rehearsal-tester-${i}`));
  try {
    await tally.check(`rehearsal: ${TESTERS} load testers make five pods of one, and their end one again`, async () => {
      await project.do("--profile", "scale", "up", "--detach", "--scale", "pod=1");
      await Promise.all(
        [...(await project.containers("pod")), ...(await project.containers("db"))].map((id) => healthy(id)),
      );
      await Bun.sleep(3_000); // the proxy has found it
      const databaseUrl = await project.databaseUrl();
      const options = { count: PEOPLE, rate: RATE, port: proxyPort, databaseUrl, seed };
      const play = new Play(project, speed);
      const measures = await people(options, async ({ history }) => {
        await play.begin(history);
        try {
          await play.sleep(CALM_MS);
          const [proxy = ""] = await project.containers("proxy");
          const known = `proxy:${await addressOf(proxy)}`; // each wget would ask dockerd, which costs more than the answer
          const where = [
            "--detach",
            "--cpus",
            TESTER_CPUS,
            "--network",
            `${project.name}_default`,
            "--add-host",
            known,
          ];
          for (const tester of testers) await docker("run", ...where, "--name", tester, "busybox", "sh", "-c", LOOP);
          play.loaded = true;
          await play.until(spec.maxReplicas, 300_000);
          await play.sleep(FULL_MS);
          await Promise.all(testers.map((tester) => docker("kill", tester)));
          play.loaded = false;
          await play.until(spec.minReplicas, 900_000);
          await play.sleep(CALM_MS);
        } finally {
          await play.end();
        }
      });
      let pages = 0;
      for (const tester of testers) {
        const { out, err } = await run(["docker", "logs", tester]);
        expect(err).toBe(""); // wget names every answer but 200 there
        expect(out).not.toContain("failed");
        pages += out.match(/page/g)?.length ?? 0;
      }
      expect(Math.max(...play.samples.map(({ pods }) => pods))).toBe(spec.maxReplicas);
      const { calm } = measures.ackLatency();
      const back = play.departures.flatMap((departure) => [...departure.back.values()]);
      const words = `${measures.acked} messages, none lost, ack p99 ${calm.p99.toFixed(0)} ms; ${pages} pages; ${play.departures.length} pods left, ${back.length} tabs were back p50 ${seconds(percentile(back, 0.5))}, at most ${seconds(Math.max(...back))} after`;
      expect(play.departures.length).toBe(spec.maxReplicas - spec.minReplicas);
      expect(Math.max(...back), words).toBeLessThanOrEqual(BACK_MS);
      for (const { away } of play.departures) expect([...away], "people who did not come back").toEqual([]);
      if (file)
        await Bun.write(
          file,
          picture(play.samples, {
            requestMilli: REQUEST_MILLI,
            target: spec.metrics[0]!.resource.target.averageUtilization,
          }),
        );
      return words;
    });
  } finally {
    await Promise.all(testers.map((tester) => run(["docker", "rm", "--force", tester])));
    await project.remove();
  }
}

const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`;

interface Container {
  readonly id: string;
  readonly pid: number;
  readonly url: string;
  /** Processor time it had used when last asked, and when that was. */
  used: { at: number; ms: number };
}

/** A pod was told to leave: who was on it, and when they were back elsewhere, counted from then. */
interface Departure {
  readonly at: number;
  readonly away: Set<string>;
  readonly back: Map<string, number>;
}

/** The autoscaler at work, and everything about it written down once a second. */
class Play {
  loaded = false;
  readonly samples: Sample[] = [];
  readonly departures: Departure[] = [];
  readonly #project: Compose;
  readonly #speed: number;
  readonly #autoscaler: Autoscaler;
  #containers: Container[] = [];
  #desired = spec.minReplicas;
  #over = false;
  #turns: Promise<unknown> | undefined;
  #acks: { at: number; ms: number }[] = [];
  #begun = 0;

  constructor(project: Compose, speed: number) {
    this.#project = project;
    this.#speed = speed;
    this.#autoscaler = new Autoscaler(spec, REQUEST_MILLI, { speed });
  }

  async begin(history: History): Promise<void> {
    await this.#look();
    this.#begun = performance.now();
    this.#listen(history);
    this.#turns = Promise.all([this.#decideOnAndOn(), this.#sampleOnAndOn()]);
  }

  async end(): Promise<void> {
    this.#over = true;
    await this.#turns;
  }

  /** A time of the real one. */
  async sleep(ms: number): Promise<void> {
    await Bun.sleep(ms / this.#speed);
  }

  /** Waits until so many pods serve, at most so long. */
  async until(pods: number, withinMs: number): Promise<void> {
    // Containers start and leave in their own time, however fast the rest goes.
    const deadline = performance.now() + withinMs / this.#speed + 60_000;
    while (this.samples.at(-1)?.pods !== pods || this.#desired !== pods) {
      if (performance.now() > deadline) {
        const last = this.samples
          .slice(-5)
          .map(({ pods, desired, milli }) => `${pods} of ${desired} pods, ${milli.toFixed(0)}m`);
        throw new Error(`not ${pods} pods after ${seconds(withinMs / this.#speed + 60_000)}: ${last.join("; ")}`);
      }
      await Bun.sleep(100);
    }
  }

  async #decideOnAndOn(): Promise<void> {
    while (!this.#over) {
      await this.sleep(SYNC_MS);
      const pods = await this.#measured();
      const desired = this.#autoscaler.decide(performance.now(), pods);
      if (desired === pods.length) continue;
      this.#desired = desired;
      const departure = { at: performance.now(), away: new Set<string>(), back: new Map<string, number>() };
      if (desired < pods.length) this.departures.push(departure);
      await this.#project.do("--profile", "scale", "up", "--detach", "--no-recreate", "--scale", `pod=${desired}`);
    }
  }

  /** The pods that there are, and what each used since it was last asked; one that has just come has not used anything that could be told. */
  #measured(): Promise<Pod[]> {
    return Promise.all(
      this.#containers.map(async (container) => {
        const now = used(container.pid);
        const forMs = now.at - container.used.at;
        const milli = (1_000 * (now.ms - container.used.ms)) / forMs;
        container.used = now;
        return { ready: await isReady(container.url), milli: forMs < SYNC_MS / this.#speed / 2 ? undefined : milli };
      }),
    );
  }

  /** Sees which pods there are now. */
  async #look(): Promise<void> {
    const ids = await this.#project.containers("pod");
    const before = new Map(this.#containers.map((container) => [container.id, container]));
    this.#containers = await Promise.all(ids.map(async (id) => before.get(id) ?? (await made(id))));
  }

  async #sampleOnAndOn(): Promise<void> {
    const before = new Map<number, number>();
    let at = performance.now();
    let told = at;
    while (!this.#over) {
      await Bun.sleep(1_000);
      await this.#look();
      const now = performance.now();
      let ms = 0;
      for (const { pid } of this.#containers) {
        const total = used(pid).ms;
        ms += Math.max(0, total - (before.get(pid) ?? total));
        before.set(pid, total);
      }
      const ready = await Promise.all(this.#containers.map(({ url }) => isReady(url)));
      const recent = this.#acks.filter((ack) => ack.at > now - ACK_WINDOW_MS);
      const count = this.#acks.filter((ack) => ack.at > at).length;
      this.#acks = recent;
      this.samples.push({
        at: (now - this.#begun) / 1_000,
        pods: ready.filter(Boolean).length,
        desired: this.#desired,
        milli: (1_000 * ms) / (now - at),
        messages: (1_000 * count) / (now - at),
        ackP99: percentile(
          recent.map((ack) => ack.ms),
          0.99,
        ),
        loaded: this.loaded,
      });
      at = now;
      if (now - told > 30_000) {
        told = now;
        const { at: second, pods, desired, milli, messages } = this.samples.at(-1)!;
        console.log(
          `       ${second.toFixed(0)} s: ${pods} of ${desired} pods, ${milli.toFixed(0)}m of CPU, ${messages.toFixed(0)} messages/s${this.loaded ? ", under load" : ""}`,
        );
      }
    }
  }

  #listen(history: History): void {
    const writtenAt = new Map<string, number>();
    const pageOf = new Map<number, string>();
    history.follow((entry) => {
      if (entry.e === "write") writtenAt.set(entry.ref, performance.now());
      else if (entry.e === "ack") {
        const at = writtenAt.get(entry.ref);
        writtenAt.delete(entry.ref);
        if (at !== undefined) this.#acks.push({ at: performance.now(), ms: performance.now() - at });
      } else if (entry.e === "open") {
        pageOf.set(entry.socket, entry.page);
        for (const { at, away, back } of this.departures) {
          if (away.delete(entry.page)) back.set(entry.page, performance.now() - at);
        }
      } else if (entry.e === "close") {
        const page = pageOf.get(entry.socket);
        pageOf.delete(entry.socket);
        if (entry.code !== 1000 && page !== undefined) this.departures.at(-1)?.away.add(page);
      } else if (entry.e === "page") {
        // Somebody who was on their way back has reloaded: a new page, which waits for nothing.
        const [who] = entry.page.split(".");
        for (const { away } of this.departures)
          for (const page of away) if (page.startsWith(`${who}.`)) away.delete(page);
      }
    });
  }
}

async function made(id: string): Promise<Container> {
  const pid = await inspect<number>(id, ".State.Pid");
  return { id, pid, url: `http://${await addressOf(id)}:8000`, used: used(pid) };
}

/**
 * Processor time of a container's own process, in milliseconds (proc(5), `utime` and `stime`). What Docker's health check takes beside it is left
 * out: Kubernetes asks over HTTP.
 */
function used(pid: number): { at: number; ms: number } {
  const at = performance.now();
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    return { at, ms: (Number(fields[11]) + Number(fields[12])) * CLOCK_TICK_MS };
  } catch {
    return { at, ms: 0 }; // it has left
  }
}

async function isReady(url: string): Promise<boolean> {
  const answer = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(1_000) }).catch(() => undefined);
  return answer?.ok === true;
}
