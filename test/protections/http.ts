import type { Protection } from "./protection.ts";

export const PROTECTIONS: readonly Protection[] = [];
