/** Every distinct state of the pages: `axe_test.ts` checks them, `bun run screenshots --all` takes pictures. */

import { ACCOUNT_STATES } from "./states/account_states.ts";
import { CONNECTION_STATES } from "./states/connection_states.ts";
import { CONVERSATION_STATES } from "./states/conversation_states.ts";
import { EMOJI_STATES } from "./states/emoji_states.ts";
import { FILE_STATES } from "./states/file_states.ts";
import { LIST_STATES } from "./states/list_states.ts";
import { MESSAGE_STATES } from "./states/message_states.ts";
import { SEARCH_STATES } from "./states/search_states.ts";
import { SIGN_IN_STATES } from "./states/sign_in_states.ts";
import type { State } from "./states/stage.ts";
import { UPLOAD_STATES } from "./states/upload_states.ts";

export const STATES: readonly State[] = [
  ...SIGN_IN_STATES,
  ...LIST_STATES,
  ...SEARCH_STATES,
  ...CONVERSATION_STATES,
  ...MESSAGE_STATES,
  ...UPLOAD_STATES,
  ...FILE_STATES,
  ...EMOJI_STATES,
  ...CONNECTION_STATES,
  ...ACCOUNT_STATES,
];
