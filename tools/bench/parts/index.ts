/** The parts by name. */

import type { PartName } from "../options.ts";
import type { Part } from "../part.ts";
import { files } from "./files.ts";
import { history } from "./history.ts";
import { idle } from "./idle.ts";
import { page } from "./page.ts";
import { pods } from "./pods.ts";
import { presence } from "./presence.ts";
import { quiet } from "./quiet.ts";
import { search } from "./search.ts";
import { send } from "./send.ts";
import { start } from "./start.ts";
import { stream } from "./stream.ts";

export const parts: Record<PartName, Part> = {
  send,
  pods,
  quiet,
  idle,
  presence,
  history,
  search,
  stream,
  files,
  page,
  start,
};
