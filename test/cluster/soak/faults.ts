/** What happens to a job in a soak: bursts of faults, the same ones for a seed. Pure. */

/** How many of each there are among as many as all of them together. */
const kinds = {
  'worker exits': 4,
  'worker is killed': 4,
  'worker hangs': 1,
  'agent is killed': 4,
  'agent leaves': 3,
  'agent stands still': 2,
  'node is cut off': 2,
  'node is not heard': 1,
  'node does not hear': 1,
  'server is killed': 2,
} as const;

export type FaultKind = keyof typeof kinds;

export const faultKinds = Object.keys(kinds) as readonly FaultKind[];

export interface Fault {
  readonly kind: FaultKind;
  /** Index of the node that it's of; the server's has none. */
  readonly node: number;
  /** From the burst's begin on. */
  readonly atMs: number;
  /** Until it's over: the agent is there again or goes on, the link is healed. Of a worker's it's over at once. */
  readonly forMs: number;
  /** How far the clock of an agent that comes back is off, in seconds. */
  readonly skewS: number;
}

/** Faults that may be there at the same time, on different nodes. */
export interface Burst {
  readonly faults: readonly Fault[];
  /** After it, when the job is whole again. */
  readonly restMs: number;
}

export type Draw = (limit: number) => number;

/** Draws numbers from 0 to below `limit`, the same ones for a seed. */
export function dice(seed: number): Draw {
  let last = seed >>> 0;
  return limit => {
    last = (Math.imul(last, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((last / 2 ** 32) * limit);
  };
}

const mostFaults = 4;
const mostRestMs = 1_500;
const mostSkewS = 7_200;

/** Draws the next burst. Faults begin within two leases, and last up to two and a half. */
export function burstOf(draw: Draw, nodes: number, leaseMs: number): Burst {
  const free = Array.from({ length: nodes }, (_, i) => i);
  const faults: Fault[] = [];
  for (let left = 1 + draw(mostFaults); left > 0; left--) {
    const kind = kindOf(draw);
    if (kind === 'server is killed' && faults.some(fault => fault.kind === kind)) continue;
    const node = kind === 'server is killed' ? -1 : (free.splice(draw(free.length), 1)[0] ?? 0);
    const atMs = draw(leaseMs * 2);
    const forMs = kind.startsWith('worker') ? 0 : draw(leaseMs * 2.5);
    const skewS = draw(2) === 0 ? 0 : draw(mostSkewS) - mostSkewS / 2;
    faults.push({ kind, node, atMs, forMs, skewS });
  }
  return { faults, restMs: draw(mostRestMs) };
}

function kindOf(draw: Draw): FaultKind {
  const all = faultKinds.flatMap(kind => Array<FaultKind>(kinds[kind]).fill(kind));
  return all[draw(all.length)] as FaultKind; // one of them
}

/** For people: `worker exits (node3)`. */
export function described({ kind, node }: Fault): string {
  return node < 0 ? kind : `${kind} (node${node + 1})`;
}
