/**
 * What Kubernetes' HorizontalPodAutoscaler decides, for one metric of CPU: the formula and the rules of "Horizontal Pod Autoscaling" in its
 * documentation, and of `pkg/controller/podautoscaler` where that is not exact. Decides; starts and stops nothing.
 */

/** How often the controller looks: `--horizontal-pod-autoscaler-sync-period`. */
export const SYNC_MS = 15_000;
/** So near to the target nothing is changed: `--horizontal-pod-autoscaler-tolerance`. */
const TOLERANCE = 0.1;

interface Policy {
  readonly type: "Pods" | "Percent";
  readonly value: number;
  readonly periodSeconds: number;
}

interface Direction {
  readonly stabilizationWindowSeconds: number;
  readonly selectPolicy?: "Max" | "Min";
  readonly policies: readonly Policy[];
}

/** Of an HorizontalPodAutoscaler (autoscaling/v2), what is used here. */
export interface Spec {
  readonly minReplicas: number;
  readonly maxReplicas: number;
  readonly metrics: readonly { readonly resource: { readonly target: { readonly averageUtilization: number } } }[];
  readonly behavior: { readonly scaleUp: Direction; readonly scaleDown: Direction };
}

/** A pod as the controller sees it. */
export interface Pod {
  readonly ready: boolean;
  /** What it used, in thousandths of a core; undefined where nothing was measured yet. */
  readonly milli: number | undefined;
}

export class Autoscaler {
  readonly #spec: Spec;
  readonly #requestMilli: number;
  readonly #speed: number;
  /** What would have been decided, for the stabilization windows. */
  readonly #wished: { at: number; replicas: number }[] = [];
  /** What was decided: replicas added (or, below zero, taken away), for the policies. */
  readonly #changes: { at: number; by: number }[] = [];

  /**
   * @param requestMilli what a pod requests, in thousandths of a core
   * @param options.speed all of its times are divided by it
   */
  constructor(spec: Spec, requestMilli: number, options: { speed?: number } = {}) {
    this.#spec = spec;
    this.#requestMilli = requestMilli;
    this.#speed = options.speed ?? 1;
  }

  /** How many pods there should be from now on. @param now in milliseconds */
  decide(now: number, pods: readonly Pod[]): number {
    const { minReplicas, maxReplicas } = this.#spec;
    const current = pods.length;
    const wish = Math.min(maxReplicas, Math.max(minReplicas, this.#wish(pods)));
    this.#wished.push({ at: now, replicas: wish });
    const steady = this.#stabilized(now, current, wish);
    const desired = this.#limited(now, current, steady);
    if (desired !== current) this.#changes.push({ at: now, by: desired - current });
    return desired;
  }

  /** By the metric alone. */
  #wish(pods: readonly Pod[]): number {
    const target = (this.#requestMilli * this.#spec.metrics[0]!.resource.target.averageUtilization) / 100;
    const measured = pods.filter(({ ready, milli }) => ready && milli !== undefined);
    if (measured.length === 0) return pods.length;
    const used = measured.reduce((sum, { milli = 0 }) => sum + milli, 0);
    const ratio = used / measured.length / target;
    const unready = pods.filter(({ ready }) => !ready).length;
    const missing = pods.length - measured.length - unready;
    if (missing === 0 && (unready === 0 || ratio <= 1)) {
      return isNear(ratio) ? pods.length : Math.ceil(ratio * measured.length);
    }
    // Whoever is not known yet is taken for what speaks against a change.
    const guessed = ratio > 1 ? 0 : missing * this.#requestMilli;
    const counted = measured.length + missing + (ratio > 1 ? unready : 0);
    const careful = (used + guessed) / counted / target;
    const wish = Math.ceil(careful * counted);
    const turned = (ratio > 1 && careful < 1) || (ratio < 1 && careful > 1);
    const against = (careful < 1 && wish > pods.length) || (careful > 1 && wish < pods.length);
    return isNear(careful) || turned || against ? pods.length : wish;
  }

  /** Up not beyond the least, down not below the most that was wished within the windows. */
  #stabilized(now: number, current: number, wish: number): number {
    const { scaleUp, scaleDown } = this.#spec.behavior;
    const within = ({ stabilizationWindowSeconds }: Direction) =>
      this.#wished
        .filter(({ at }) => now - at < (stabilizationWindowSeconds * 1_000) / this.#speed || at === now)
        .map(({ replicas }) => replicas);
    const [least, most] = [Math.min(...within(scaleUp)), Math.max(...within(scaleDown))];
    if (wish > current) return Math.max(current, least);
    return Math.min(current, most);
  }

  /** No faster than the policies let it. */
  #limited(now: number, current: number, wish: number): number {
    if (wish === current) return current;
    const isUp = wish > current;
    const { selectPolicy = "Max", policies } = isUp ? this.#spec.behavior.scaleUp : this.#spec.behavior.scaleDown;
    const sign = isUp ? 1 : -1;
    const limits = policies.map(({ type, value, periodSeconds }) => {
      const since = now - (periodSeconds * 1_000) / this.#speed;
      const recent = this.#changes.filter(({ at, by }) => at > since && Math.sign(by) === sign);
      const before = current - recent.reduce((sum, { by }) => sum + by, 0);
      if (type === "Pods") return before + sign * value;
      return isUp ? Math.ceil(before * (1 + value / 100)) : Math.floor(before * (1 - value / 100));
    });
    const furthest = (selectPolicy === "Max") === isUp ? Math.max(...limits) : Math.min(...limits);
    return isUp ? Math.max(current, Math.min(wish, furthest)) : Math.min(current, Math.max(wish, furthest));
  }
}

function isNear(ratio: number): boolean {
  return Math.abs(1 - ratio) <= TOLERANCE;
}
