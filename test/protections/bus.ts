import type { Protection } from "./protection.ts";

const CIPHER = "src/bus/packet_cipher_test.ts";
const BUS = "test/bus_test.ts";

export const PROTECTIONS: readonly Protection[] = [
  {
    against: "another role or client forges a packet, or changes one",
    file: "src/bus/packet_cipher.ts",
    find: "    } catch {\n      return undefined;",
    replace: "    } catch {",
    test: CIPHER,
    name: "a sealed packet is not opened with a single bit changed, anywhere",
  },
  {
    against: "a packet is taken for another pod's, or for another place in the order",
    file: "src/bus/packet_cipher.ts",
    find: "`chatify bus ${pod}`",
    replace: '"chatify bus"',
    test: CIPHER,
    name: "a sealed packet of one pod shares no nonce with another packet, and no key with another pod",
  },
  {
    against: "a recorded packet is taken again",
    file: "src/bus/peer_tracker.ts",
    find: 'if (peer && counter <= peer.counter) return "replayed";',
    replace: "",
    test: BUS,
    name: "over PostgreSQL bus takes no packet of a living pod twice, and believes nothing by it",
  },
  {
    against: "recorded packets bring a pod back that has stopped",
    file: "src/bus/peer_tracker.ts",
    find: 'kind === "goodbye" || !this.#isAnswered(events)',
    replace: 'kind === "goodbye"',
    test: BUS,
    name: "over PostgreSQL bus brings no pod back by a recording: one that said goodbye, here or on a pod that starts later",
  },
  {
    against: "a recorded answer brings a pod back that has stopped",
    file: "src/bus/peer_tracker.ts",
    find: "    this.#peers.delete(pod);\n    this.#challenge = newToken();",
    replace: "    this.#peers.delete(pod);",
    test: BUS,
    name: "over PostgreSQL bus brings no pod back by a recording: one that fell silent, here or on a pod that starts later",
  },
  {
    against: "a pod passes on frames that are none of the server's",
    file: "src/bus/events.ts",
    find: "  if (!fields) return undefined;",
    replace: "  if (!fields) return JSON.stringify(value);",
    test: "src/bus/events_test.ts",
    name: "an event is dropped as malformed: a frame without a type",
  },
  {
    against: "a pod passes on a frame with fields of another kind, or none",
    file: "src/bus/events.ts",
    find: "    if (frame[field] === undefined) return undefined;",
    replace: "",
    test: "src/bus/events_test.ts",
    name: "an event is dropped as malformed: typing of no user",
  },
  {
    against: "a packet of any size is decrypted",
    file: "src/bus/packet_bus.ts",
    find: "if (text.length > this.#transport.maxBytes)",
    replace: "if (text.length > Number.MAX_SAFE_INTEGER)",
    test: BUS,
    name: "over Redis bus opens no packet longer than those that pods send",
  },
  {
    against: "a name that only a client wrote is published to other pods",
    file: "src/chat.ts",
    find: 'if (key !== undefined) this.#tell([{ kind: "frame", to: [key],',
    replace: 'this.#tell([{ kind: "frame", to: [key ?? peerKey],',
    test: "test/forgery_test.ts",
    name: "over PostgreSQL every name in what pods send each other belongs to an account",
  },
];
