/** Draws what the autoscaler did: pods, CPU, messages and acks over time, one above the other, as SVG that suits light and dark pages. */

/** How things stood at one moment. */
export interface Sample {
  /** Seconds since the beginning. */
  readonly at: number;
  readonly pods: number;
  readonly desired: number;
  /** Of all pods, in thousandths of a core. */
  readonly milli: number;
  /** A second. */
  readonly messages: number;
  /** Of the last seconds, in milliseconds. */
  readonly ackP99: number;
  /** Whether load testers run. */
  readonly loaded: boolean;
}

interface Panel {
  readonly title: string;
  readonly value: (sample: Sample) => number;
  readonly unit: string;
  /** A second line, thin: what there should be. */
  readonly goal?: (sample: Sample) => number;
  readonly steps?: true;
}

const WIDTH = 800;
const LEFT = 64;
const RIGHT = 16;
const HEIGHT = 96;
const GAP = 44;
const TOP = 40;

/** @param rules what a pod requests, in thousandths of a core, and how much of it the autoscaler aims at, in percent */
export function picture(samples: readonly Sample[], rules: { requestMilli: number; target: number }): string {
  const aim = (rules.requestMilli * rules.target) / 100;
  const panels: Panel[] = [
    {
      title: "pods that serve (thin: that there should be)",
      value: ({ pods }) => pods,
      goal: ({ desired }) => desired,
      unit: "",
      steps: true,
    },
    {
      title: `CPU of all pods, thousandths of a core (thin: ${aim} a pod)`,
      value: ({ milli }) => milli,
      goal: ({ pods }) => pods * aim,
      unit: "m",
    },
    { title: "messages confirmed a second", value: ({ messages }) => messages, unit: "" },
    { title: "time to the ack, p99 of 5 s", value: ({ ackP99 }) => ackP99, unit: " ms" },
  ];
  const end = samples.at(-1)?.at ?? 1;
  const x = (at: number) => LEFT + ((WIDTH - LEFT - RIGHT) * at) / end;
  const height = TOP + panels.length * (HEIGHT + GAP);
  const loaded = samples.filter((sample) => sample.loaded);
  const [from, to] = [loaded[0]?.at ?? 0, loaded.at(-1)?.at ?? 0];
  const parts = panels.map((panel, i) => draw(panel, TOP + i * (HEIGHT + GAP), samples, x));
  const band = `<rect class="load" x="${x(from).toFixed(1)}" y="${TOP}" width="${(x(to) - x(from)).toFixed(1)}" height="${height - TOP - GAP}"/>`;
  const step = end > 240 ? 60 : 10;
  const times = Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => i * step);
  const every = Math.ceil(times.length / 16);
  const axis = times
    .filter((_, i) => i % every === 0)
    .map(
      (at) =>
        `<text x="${x(at).toFixed(1)}" y="${height - GAP + 18}" text-anchor="middle">${step === 60 ? `${at / 60} min` : `${at} s`}</text>`,
    );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="Pods, CPU, messages a second and time to the ack while load testers come and go">
<style>
  text { font: 12px system-ui, sans-serif; fill: #59636e; }
  .title { font-weight: 600; }
  .frame { stroke: #8b949e; stroke-opacity: .4; fill: none; }
  .line { stroke: #4a63e0; stroke-width: 1.6; fill: none; stroke-linejoin: round; }
  .goal { stroke: #8b949e; stroke-width: 1; fill: none; }
  .load { fill: #4a63e0; fill-opacity: .09; }
  @media (prefers-color-scheme: dark) { text { fill: #b0b8c1; } .line { stroke: #8fa2ff; } .load { fill: #8fa2ff; } }
</style>
${band}
<text x="${x(from).toFixed(1)}" y="18">load testers</text>
${parts.join("\n")}
${axis.join("\n")}
</svg>
`;
}

function draw(
  { title, value, goal, unit, steps }: Panel,
  top: number,
  samples: readonly Sample[],
  x: (at: number) => number,
): string {
  const all = samples.flatMap((sample) => [value(sample), goal?.(sample) ?? 0]).filter(Number.isFinite);
  const most = nice(Math.max(1, ...all));
  const y = (amount: number) => top + HEIGHT - (HEIGHT * amount) / most;
  const line = (of: (sample: Sample) => number, stepped: boolean) => {
    let path = "";
    let before: number | undefined;
    for (const sample of samples) {
      const amount = of(sample);
      if (!Number.isFinite(amount)) {
        before = undefined;
        continue;
      }
      const at = x(sample.at).toFixed(1);
      if (before === undefined) path += `M${at},${y(amount).toFixed(1)}`;
      else if (stepped && amount !== before) path += `H${at}V${y(amount).toFixed(1)}`;
      else path += `L${at},${y(amount).toFixed(1)}`;
      before = amount;
    }
    return path;
  };
  return [
    `<text class="title" x="${LEFT}" y="${top - 8}">${title}</text>`,
    `<path class="frame" d="M${LEFT},${top}V${top + HEIGHT}H${WIDTH - RIGHT}"/>`,
    `<text x="${LEFT - 6}" y="${top + 8}" text-anchor="end">${most}${unit}</text>`,
    `<text x="${LEFT - 6}" y="${top + HEIGHT}" text-anchor="end">0</text>`,
    goal ? `<path class="goal" d="${line(goal, true)}"/>` : "",
    `<path class="line" d="${line(value, steps === true)}"/>`,
  ].join("\n");
}

/** The next number that people count to. */
function nice(amount: number): number {
  const power = 10 ** Math.floor(Math.log10(amount));
  return [1, 2, 5, 10].map((times) => times * power).find((rounded) => rounded >= amount) ?? amount;
}
