/** What a run found, in words and recovery. */

import { percentile } from "../support/statistics.ts";
import { type Violation, VIOLATIONS } from "./findings.ts";
import type { Plan } from "./plan.ts";
import { type Outcome, stamp } from "./run.ts";

/** @returns the text, and whether all is well */
export function summarize(
  outcome: Outcome,
  plan: Plan,
  provesOnlyWith: { inconclusive: boolean },
): { text: string; well: boolean } {
  const { findings, metrics, complaints, missing } = outcome;
  const lines = ["", "Pages back after each fault that cost them their socket"];
  for (const { at, fault, back } of metrics.faults) {
    if (back.length === 0) continue;
    const times = `p50 ${ms(percentile(back, 0.5))}, p99 ${ms(percentile(back, 0.99))}`;
    lines.push(`${stamp(at)}  ${fault}: ${back.length} back, ${times}`);
  }
  const { calm, fault } = metrics.ackLatency();
  lines.push(
    "",
    `${metrics.acked.toLocaleString("en")} of ${metrics.written.toLocaleString("en")} messages acknowledged`,
    `${metrics.duplicateAcks} duplicate acks, ${metrics.unknown} unknown outcomes`,
    `ack p50 ${ms(calm.p50)}, p99 ${ms(calm.p99)} in calm; p50 ${ms(fault.p50)}, p99 ${ms(fault.p99)} under a fault and just after`,
    `longest silence ${ms(metrics.silence.ms)}, from ${stamp(metrics.silence.at).trim()}`,
    "",
  );
  for (const [id, why] of missing) lines.push(`not made: ${id}, ${why}`);
  const width = Math.max(...Object.keys(VIOLATIONS).map((name) => name.length));
  for (const [name, about] of Object.entries(VIOLATIONS) as [Violation, string][]) {
    lines.push(`${name.padEnd(width)}  ${String(findings.count(name)).padStart(6)}  ${about}`);
    for (const words of findings.words(name)) lines.push(`${" ".repeat(width + 10)}- ${words}`);
  }
  if (complaints.length > 0) lines.push("", "Errors in the servers' logs", ...complaints.slice(0, 20));
  const inconclusive = provesOnlyWith.inconclusive ? reasonsInconclusive(outcome, plan) : [];
  for (const doubt of inconclusive) lines.push("", `This run proves nothing: ${doubt}`);
  const well = findings.total === 0 && inconclusive.length === 0;
  lines.push("", well ? "Every promise was kept" : "NOT every promise was kept, or not proved to be");
  return { text: `${lines.join("\n")}\n`, well };
}

/** Reasons why nothing wrong means nothing. */
function reasonsInconclusive({ metrics }: Outcome, plan: Plan): string[] {
  const inconclusive: string[] = [];
  if (metrics.acked < plan.least)
    inconclusive.push(`${metrics.acked} messages were acknowledged, it takes ${plan.least}`);
  if (metrics.duplicateAcks === 0) inconclusive.push("no ack was a duplicate");
  if (metrics.unknown === 0) inconclusive.push("no outcome was unknown");
  return inconclusive;
}

function ms(time: number): string {
  if (!Number.isFinite(time)) return "–";
  return time >= 1_000 ? `${(time / 1_000).toFixed(1)} s` : `${time.toFixed(time < 10 ? 1 : 0)} ms`;
}
