/** A run's result: measured figures with their bounds, and checks of correctness; printed as a table or as JSON. */

/** Required of a figure, or of its ratio. */
export type Bound = { readonly least: number } | { readonly most: number };

export interface Figure {
  readonly part: string;
  readonly name: string;
  readonly value: number;
  readonly unit: Unit;
  readonly baseline?: { readonly name: string; readonly value: number };
  /** By default `value` ÷ the baseline's. */
  readonly ratio?: number;
  readonly bound?: Bound;
  readonly note?: string;
}

export interface Section {
  figure(name: string, figure: Omit<Figure, "part" | "name">): void;
  check(name: string, problems: readonly string[]): void;
}

export interface Check {
  readonly part: string;
  readonly name: string;
  readonly problems: readonly string[];
}

export type Unit = "/s" | "ms" | "µs" | "s" | "bytes" | "B/s" | "MiB/s" | "%" | "×" | "";

/** A figure fails `--check` only beyond this multiple of its bound: test machines are noisy. */
const SLACK = 2;

export class Report {
  readonly figures: Figure[] = [];
  readonly checks: Check[] = [];

  add(figure: Figure): void {
    const { value, baseline } = figure;
    this.figures.push(baseline && figure.ratio === undefined ? { ...figure, ratio: value / baseline.value } : figure);
  }

  /** @param problems empty if all is correct */
  check(part: string, name: string, problems: readonly string[]): void {
    this.checks.push({ part, name, problems });
  }

  /** Figures and checks of one part. */
  section(part: string): Section {
    return {
      figure: (name, figure) => this.add({ part, name, ...figure }),
      check: (name, problems) => this.check(part, name, problems),
    };
  }

  get wrong(): Check[] {
    return this.checks.filter(({ problems }) => problems.length > 0);
  }

  get missed(): Figure[] {
    return this.figures.filter((figure) => !meets(figure, 1));
  }

  /** Figures too far off to be noise. */
  get failed(): Figure[] {
    return this.figures.filter((figure) => !meets(figure, SLACK));
  }

  table(): string {
    const rows = this.figures.map((figure) => [
      figure.name,
      show(figure.value, figure.unit),
      figure.baseline ? `${figure.baseline.name} ${show(figure.baseline.value, figure.unit)}` : (figure.note ?? ""),
      measuredRatio(figure),
      required(figure),
      figure.bound ? (meets(figure, 1) ? "ok" : "missed") : "",
    ]);
    const head = ["", "measured", "compared with", "ratio", "required", ""];
    const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
    const line = (cells: string[]) =>
      cells
        .map((cell, i) => (i === 0 || i === 2 || i === 5 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join("  ")
        .trimEnd();
    const lines = [line(head)];
    let part = "";
    for (const [i, row] of rows.entries()) {
      const figure = this.figures[i] as Figure;
      if (figure.part !== part) lines.push("", figure.part);
      part = figure.part;
      lines.push(line(row));
    }
    const { wrong } = this;
    lines.push("", `${this.checks.length - wrong.length} of ${this.checks.length} checks passed`);
    for (const { part, name, problems } of wrong)
      lines.push(`FAILED  ${part}: ${name}`, ...problems.map((problem) => `          ${problem}`));
    return `${lines.join("\n")}\n`;
  }

  /** @param about the machine and the run */
  json(about: Record<string, unknown>): string {
    const figures = this.figures.map((figure) => ({ ...figure, ...(figure.bound ? { ok: meets(figure, 1) } : {}) }));
    return `${JSON.stringify({ ...about, figures, checks: this.checks })}\n`;
  }
}

function meets({ bound, ratio, value }: Figure, slack: number): boolean {
  if (!bound) return true;
  const measured = ratio ?? value;
  return "least" in bound ? measured >= bound.least / slack : measured <= bound.most * slack;
}

function measuredRatio({ ratio }: Figure): string {
  return ratio === undefined ? "" : ratio >= 100 ? ratio.toFixed(0) : ratio.toFixed(2);
}

function required({ bound, ratio, unit }: Figure): string {
  if (!bound) return "";
  const [sign, limit] = "least" in bound ? (["≥", bound.least] as const) : (["≤", bound.most] as const);
  return `${sign} ${ratio === undefined ? show(limit, unit) : limit}`;
}

/** @example show(41234.5, "/s") // "41,235 /s" */
export function show(value: number, unit: Unit): string {
  if (!Number.isFinite(value)) return "–";
  if (unit === "bytes") return showBytes(value);
  if (unit === "B/s") return `${showBytes(value)}/s`;
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  const number = value.toLocaleString("en", { minimumFractionDigits: 0, maximumFractionDigits: digits });
  return unit === "" ? number : unit === "%" ? `${number} %` : `${number} ${unit}`;
}

function showBytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  let [size, unit] = [value, 0];
  for (; Math.abs(size) >= 1024 && unit < units.length - 1; unit++) size /= 1024;
  return `${size >= 100 || unit === 0 ? size.toFixed(0) : size.toFixed(1)} ${units[unit]}`;
}
