/** Elects the pod that does what only one may do. */

/**
 * Whether a pod has the lowest name of those alive. Pods that have not discovered each other yet may
 * both be elected.
 */
export function isElected({ pod, peers }: { readonly pod: string; readonly peers: readonly string[] }): boolean {
  return peers.every((other) => pod < other);
}
