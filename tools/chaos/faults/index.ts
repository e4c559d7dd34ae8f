/** Every fault by its id. */

import { clientFaults } from "./clients.ts";
import type { Fault } from "./fault.ts";
import { networkFaults } from "./network.ts";
import { podFaults } from "./pods.ts";
import { postgresFaults } from "./postgres.ts";

const all = [...podFaults, ...postgresFaults, ...networkFaults, ...clientFaults];

export const faults: ReadonlyMap<string, Fault> = new Map(
  all.toSorted((a, b) => a.id.localeCompare(b.id)).map((fault) => [fault.id, fault]),
);
if (faults.size < all.length) throw new RangeError("Two faults have the same id"); // one would never be run
