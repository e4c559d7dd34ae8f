/** Every fault there is, by its number in the list of what can go wrong. */

import { clientFaults } from "./clients.ts";
import type { Fault } from "./fault.ts";
import { networkFaults } from "./network.ts";
import { podFaults } from "./pods.ts";
import { postgresFaults } from "./postgres.ts";

export const faults: ReadonlyMap<string, Fault> = new Map(
  [...podFaults, ...postgresFaults, ...networkFaults, ...clientFaults]
    .toSorted((a, b) => a.id.localeCompare(b.id))
    .map((fault) => [fault.id, fault]),
);
