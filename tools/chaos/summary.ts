/** The report of a run. */

import { percentile } from "../support/statistics.ts";
import { type Violation, VIOLATIONS } from "./findings.ts";
import type { Plan } from "./plan.ts";
import { type Outcome, stamp } from "./run.ts";

/** @param options.mayBeInconclusive no sign of the usual disturbances is fine */
export function summarize(
  outcome: Outcome,
  plan: Plan,
  options: { mayBeInconclusive: boolean },
): { text: string; passed: boolean } {
  const { findings, metrics, loggedErrors, unsupported } = outcome;
  const lines = ["", "Reconnection of pages after each fault that closed their sockets"];
  for (const { at, fault, reconnectMs } of metrics.faults) {
    if (reconnectMs.length === 0) continue;
    const times = `p50 ${ms(percentile(reconnectMs, 0.5))}, p99 ${ms(percentile(reconnectMs, 0.99))}`;
    lines.push(`${stamp(at)}  ${fault}: ${reconnectMs.length} reconnected, ${times}`);
  }
  const { calm, fault } = metrics.ackLatency();
  lines.push(
    "",
    `${metrics.acked.toLocaleString("en")} of ${metrics.written.toLocaleString("en")} messages acknowledged`,
    `${metrics.changed.toLocaleString("en")} changes answered`,
    `${metrics.duplicateAcks} duplicate acks, ${metrics.unknown} unknown outcomes`,
    `ack p50 ${ms(calm.p50)}, p99 ${ms(calm.p99)} without faults; p50 ${ms(fault.p50)}, p99 ${ms(fault.p99)} during a fault and shortly after`,
    `longest time without an ack ${ms(metrics.silence.ms)}, from ${stamp(metrics.silence.at).trim()}`,
    "",
  );
  for (const [id, why] of unsupported) lines.push(`not injected: ${id}, ${why}`);
  const width = Math.max(...Object.keys(VIOLATIONS).map((kind) => kind.length));
  for (const [kind, about] of Object.entries(VIOLATIONS) as [Violation, string][]) {
    lines.push(`${kind.padEnd(width)}  ${String(findings.count(kind)).padStart(6)}  ${about}`);
    for (const example of findings.examples(kind)) lines.push(`${" ".repeat(width + 10)}- ${example}`);
  }
  if (loggedErrors.length > 0) lines.push("", "Errors in the servers' logs", ...loggedErrors.slice(0, 20));
  const doubts = options.mayBeInconclusive ? [] : reasonsInconclusive(outcome, plan);
  for (const doubt of doubts) lines.push("", `Inconclusive: ${doubt}`);
  const passed = findings.total === 0 && doubts.length === 0;
  const broken = findings.total > 0 ? "Promises were broken" : "Nothing was proved";
  lines.push("", passed ? "Every promise was kept" : broken);
  return { text: `${lines.join("\n")}\n`, passed };
}

function reasonsInconclusive({ metrics }: Outcome, { minAnswers }: Plan): string[] {
  const reasons: string[] = [];
  const answers = metrics.acked + metrics.changed;
  if (answers < minAnswers) reasons.push(`${answers} messages and changes were answered, fewer than ${minAnswers}`);
  if (metrics.changed === 0) reasons.push("no change was answered");
  if (metrics.duplicateAcks === 0) reasons.push("there was no duplicate ack");
  if (metrics.unknown === 0) reasons.push("there was no unknown outcome");
  return reasons;
}

function ms(time: number): string {
  if (!Number.isFinite(time)) return "–";
  return time >= 1_000 ? `${(time / 1_000).toFixed(1)} s` : `${time.toFixed(time < 10 ? 1 : 0)} ms`;
}
