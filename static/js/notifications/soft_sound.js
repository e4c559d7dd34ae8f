/** Plays two soft synthesized tones. Browsers allow sound only after a user gesture. */

const TONES = [
  { hertz: 587.33, at: 0, seconds: 0.22 },
  { hertz: 880, at: 0.11, seconds: 0.38 },
];
const LOUDNESS = 0.09;
const SWELL_SECONDS = 0.015; // an abrupt start would be audible as a click

export class SoftSound {
  /** @type {AudioContext | undefined} */
  #context;

  /** Call on a user gesture. Returns whether the page may play sound from now on. */
  async unlock() {
    try {
      this.#context ??= new AudioContext();
      await this.#context.resume();
      if (this.#context.state !== "running") return false;
      await this.#context.suspend(); // a running context uses power even when silent
      return true;
    } catch {
      return false; // no Web Audio, or no device
    }
  }

  async play() {
    const context = this.#context;
    if (!context) return;
    try {
      await context.resume();
    } catch {
      return;
    }
    const start = context.currentTime + 0.02;
    /** @type {OscillatorNode | undefined} */
    let last;
    for (const { hertz, at, seconds } of TONES) {
      const tone = new OscillatorNode(context, { type: "sine", frequency: hertz });
      const envelope = new GainNode(context, { gain: 0 });
      envelope.gain.setValueAtTime(0, start + at);
      envelope.gain.linearRampToValueAtTime(LOUDNESS, start + at + SWELL_SECONDS);
      envelope.gain.exponentialRampToValueAtTime(0.0001, start + at + seconds);
      tone.connect(envelope).connect(context.destination);
      tone.start(start + at);
      tone.stop(start + at + seconds);
      last = tone;
    }
    last?.addEventListener("ended", () => void context.suspend().catch(() => {}));
  }
}
