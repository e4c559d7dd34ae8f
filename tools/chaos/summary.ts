/** What a run found, in words and figures. */

import { percentile } from "../support/statistics.ts";
import { type Class, CLASSES } from "./findings.ts";
import type { Plan } from "./plan.ts";
import { type Outcome, stamp } from "./run.ts";

/** @returns the text, and whether all is well */
export function summarize(
  outcome: Outcome,
  plan: Plan,
  provesOnlyWith: { doubts: boolean },
): { text: string; well: boolean } {
  const { findings, measures, complaints, missing } = outcome;
  const lines = ["", "Pages back after each fault that cost them their socket"];
  for (const { at, fault, back } of measures.faults) {
    if (back.length === 0) continue;
    const times = `p50 ${ms(percentile(back, 0.5))}, p99 ${ms(percentile(back, 0.99))}`;
    lines.push(`${stamp(at)}  ${fault}: ${back.length} back, ${times}`);
  }
  const { calm, fault } = measures.ackLatency();
  lines.push(
    "",
    `${measures.acked.toLocaleString("en")} of ${measures.written.toLocaleString("en")} messages acknowledged`,
    `${measures.duplicateAcks} duplicate acks, ${measures.unknown} unknown outcomes`,
    `ack p50 ${ms(calm.p50)}, p99 ${ms(calm.p99)} in calm; p50 ${ms(fault.p50)}, p99 ${ms(fault.p99)} under a fault and just after`,
    `longest silence ${ms(measures.silence.ms)}, from ${stamp(measures.silence.at).trim()}`,
    "",
  );
  for (const [id, why] of missing) lines.push(`not made: ${id}, ${why}`);
  const width = Math.max(...Object.keys(CLASSES).map((name) => name.length));
  for (const [name, about] of Object.entries(CLASSES) as [Class, string][]) {
    lines.push(`${name.padEnd(width)}  ${String(findings.count(name)).padStart(6)}  ${about}`);
    for (const words of findings.words(name)) lines.push(`${" ".repeat(width + 10)}- ${words}`);
  }
  if (complaints.length > 0) lines.push("", "Errors in the servers' logs", ...complaints.slice(0, 20));
  const doubts = provesOnlyWith.doubts ? doubtsOf(outcome, plan) : [];
  for (const doubt of doubts) lines.push("", `This run proves nothing: ${doubt}`);
  const well = findings.total === 0 && doubts.length === 0;
  lines.push("", well ? "Every promise was kept" : "NOT every promise was kept, or not proved to be");
  return { text: `${lines.join("\n")}\n`, well };
}

/** Reasons why nothing wrong means nothing. */
function doubtsOf({ measures }: Outcome, plan: Plan): string[] {
  const doubts: string[] = [];
  if (measures.acked < plan.least) doubts.push(`${measures.acked} messages were acknowledged, it takes ${plan.least}`);
  if (measures.duplicateAcks === 0) doubts.push("no ack was a duplicate");
  if (measures.unknown === 0) doubts.push("no outcome was unknown");
  return doubts;
}

function ms(time: number): string {
  if (!Number.isFinite(time)) return "–";
  return time >= 1_000 ? `${(time / 1_000).toFixed(1)} s` : `${time.toFixed(time < 10 ? 1 : 0)} ms`;
}
