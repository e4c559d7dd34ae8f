/** Loaded before a server: its clock is wrong by so many hours. Times that matter come from PostgreSQL, so nobody should notice. */

const SHIFT_MS = Number(Bun.env["CHAOS_CLOCK_HOURS"] ?? 0) * 3_600_000;
const RealDate = Date;

class ShiftedDate extends RealDate {
  constructor(...words: [] | [string | number]) {
    super(...((words.length === 0 ? [ShiftedDate.now()] : words) as [number]));
  }

  static override now(): number {
    return RealDate.now() + SHIFT_MS;
  }
}

globalThis.Date = ShiftedDate as DateConstructor;
