/** Preloaded into a server: shifts its clock by CHAOS_CLOCK_HOURS, which no client may notice. */

const SHIFT_MS = Number(Bun.env["CHAOS_CLOCK_HOURS"] ?? 0) * 3_600_000;
const RealDate = Date;

class ShiftedDate extends RealDate {
  constructor(...args: [] | [string | number]) {
    super(...((args.length === 0 ? [ShiftedDate.now()] : args) as [number]));
  }

  static override now(): number {
    return RealDate.now() + SHIFT_MS;
  }
}

globalThis.Date = ShiftedDate as DateConstructor;
