/**
 * A client that sends 10,000 messages a second on one socket and reconnects at once when closed, in a separate process so as not to
 * disturb the measurement. `FLOOD_URL`, `FLOOD_COOKIE`, `FLOOD_TO`, `FLOOD_MS`; prints the outcome as JSON.
 */

const { FLOOD_URL = "", FLOOD_COOKIE = "", FLOOD_TO = "", FLOOD_MS = "" } = Bun.env;
const PER_TICK = 100;
const TICK_MS = 10;

/** The outcome of a flood. */
export interface Flood {
  sent: number;
  sockets: number;
  acks: number;
  /** Error frames by code, closes by code. */
  refused: Record<string, number>;
  closed: Record<number, number>;
}

const seen: Flood = { sent: 0, sockets: 0, acks: 0, refused: {}, closed: {} };
const end = performance.now() + Number(FLOOD_MS);

while (performance.now() < end) {
  const socket = new WebSocket(FLOOD_URL, { headers: { cookie: FLOOD_COOKIE } } as unknown as string[]);
  const gone = new Promise<number>((resolve) => socket.addEventListener("close", ({ code }) => resolve(code)));
  socket.addEventListener("error", () => {});
  socket.addEventListener("open", () => seen.sockets++);
  socket.addEventListener("message", ({ data }) => {
    const { type, code } = JSON.parse(String(data)) as { type: string; code: string };
    if (type === "ack") seen.acks++;
    else if (type === "error") seen.refused[code] = (seen.refused[code] ?? 0) + 1;
  });
  const timer = setInterval(() => {
    for (let i = 0; i < PER_TICK && socket.readyState === WebSocket.OPEN; i++) {
      socket.send(
        JSON.stringify({ to: FLOOD_TO, message: "flood", ref: `flood-${seen.sent++}-${end}`.replace(".", "-") }),
      );
    }
  }, TICK_MS);
  const left = Bun.sleep(Math.max(0, end - performance.now())).then(() => undefined);
  const code = await Promise.race([gone, left]);
  clearInterval(timer);
  if (code === undefined) socket.close();
  else seen.closed[code] = (seen.closed[code] ?? 0) + 1;
}
process.stdout.write(JSON.stringify(seen));
process.exit(0);
