/** English, for the search of messages. Loaded with it. */
export default {
  hits: "Messages",
  hits_found: { one: "{count} message found", other: "{count} messages found" },
  hits_none: "No messages found.",
  hits_failed: "Your messages could not be searched.",
  hits_offline: "You are offline. Searching messages needs a connection.",
  hits_limited: "Too many searches at once. Yours continues in {wait}.",
  hits_paused: "Older messages have not been searched yet.",
  hits_continue: "Keep searching",
};
