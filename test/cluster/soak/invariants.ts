/** What must hold of a job whatever happens to it, checked by what its workers have told. Pure. */

/** What a worker of one node has told of itself. Times are of CLOCK_MONOTONIC. */
export interface Life {
  readonly node: string;
  /** Which of the agents that its node has had. */
  readonly agent: number;
  readonly pid: number;
  readonly rank: number;
  readonly groupRank: number;
  readonly world: number;
  readonly round: number;
  readonly restartCount: number;
  /** Where its round meets. */
  readonly store: string;
  readonly startedMs: number;
  /** The last moment at which it's known to have lived. */
  readonly lastMs: number;
  /** Absent: it hasn't met the others. */
  readonly met?: Met;
}

/** What it has found in the round's store. */
export interface Met {
  /** Workers that have claimed its rank there. */
  readonly claims: number;
  /** Workers that had come there with it. */
  readonly arrivals: number;
  /** Keys that the last one has found. */
  readonly keys: number;
}

export interface AgentEnd {
  readonly node: string;
  readonly agent: number;
  /** From then on no worker of it may be left. */
  readonly atMs: number;
}

export interface Evidence {
  readonly lives: readonly Life[];
  readonly ends: readonly AgentEnd[];
  /** When a server was killed: its table was lost. */
  readonly serverEndsMs: readonly number[];
}

export interface Limits {
  /** Workers of a round at a server that's gone may run so long beside one at the next server. */
  readonly leaseMs: number;
  /** For a killed agent's workers to be gone. */
  readonly outlivesMs: number;
}

/** What a worker leaves in the store: its claim. And all of them: their number. */
const sharedKeys = 1;

/** What doesn't hold, a sentence each. */
export function violationsOf(evidence: Evidence, limits: Limits): readonly string[] {
  const lives = [...evidence.lives].sort((a, b) => a.startedMs - b.startedMs);
  const rounds = roundsOf(lives);
  return [
    ...rounds.flatMap(ofRound),
    ...repeated(rounds, evidence),
    ...overlaps(lives, evidence, limits),
    ...backwards(lives, evidence),
    ...outlived(evidence, limits),
  ];
}

/** Two stores are two rounds, whatever their numbers say. */
function roundsOf(lives: readonly Life[]): readonly (readonly Life[])[] {
  const rounds = new Map<string, Life[]>();
  for (const life of lives) {
    const key = roundOf(life);
    rounds.set(key, [...(rounds.get(key) ?? []), life]);
  }
  return [...rounds.values()];
}

function roundOf({ round, store }: Life): string {
  return `round ${round} at ${store}`;
}

/** One map of ranks on all nodes, and a store that was empty. */
function ofRound(lives: readonly Life[]): readonly string[] {
  const [first] = lives;
  if (first === undefined) return [];
  const name = roundOf(first);
  const found: string[] = [];
  const values = (of: (life: Life) => unknown): readonly unknown[] => [...new Set(lives.map(of))];
  const worlds = values(({ world }) => world);
  if (worlds.length > 1) found.push(`${name} has worlds of ${worlds.join(' and ')}`);
  const counts = values(({ restartCount }) => restartCount);
  if (counts.length > 1) found.push(`${name} has restart counts ${counts.join(' and ')}`);
  if (values(({ rank }) => rank).length < lives.length) {
    found.push(`${name} has a rank twice: ${lives.map(({ node, rank }) => `${rank} on ${node}`)}`);
  }
  if (values(({ node }) => node).length < lives.length) {
    found.push(`${name} has a node twice: ${lives.map(({ node }) => node)}`);
  }
  for (const { node, rank, groupRank, world, met } of lives) {
    const isRank = rank >= 0 && rank < world && rank === groupRank;
    if (!isRank) found.push(`${name} has rank ${rank}, group rank ${groupRank} of ${world}`);
    if (met === undefined) continue;
    if (met.claims !== 1) found.push(`${name}: ${node} is claim ${met.claims} of rank ${rank}`);
    if (met.arrivals > world) found.push(`${name}: ${node} is arrival ${met.arrivals} of ${world}`);
    if (met.keys !== world + sharedKeys) {
      found.push(
        `${name}: its store had ${met.keys} keys, and its workers made ${world + sharedKeys}`,
      );
    }
  }
  // Whoever has met has met them all.
  const isMet = lives.some(({ met }) => met !== undefined);
  if (isMet && lives.length !== first.world) {
    found.push(`${name} has met with ${lives.length} workers of ${first.world}`);
  }
  return found;
}

/** A number is given once, but by a server that knows nothing of the one before. */
function repeated(
  rounds: readonly (readonly Life[])[],
  { serverEndsMs }: Evidence,
): readonly string[] {
  const firsts = rounds.flatMap(lives => lives.slice(0, 1));
  return firsts.flatMap((life, i) => {
    const other = firsts.slice(0, i).find(({ round, startedMs }) => {
      const isSince = serverEndsMs.some(ms => ms >= startedMs && ms <= life.startedMs);
      return round === life.round && !isSince;
    });
    return other === undefined ? [] : [`${roundOf(life)} repeats ${roundOf(other)}`];
  });
}

/** No worker of a round runs beside one of another round, or beside another one of its node. */
function overlaps(
  lives: readonly Life[],
  { serverEndsMs }: Evidence,
  { leaseMs }: Limits,
): readonly string[] {
  const found: string[] = [];
  for (const [i, later] of lives.entries()) {
    for (const earlier of lives.slice(0, i)) {
      if (roundOf(earlier) === roundOf(later)) continue;
      const isMoved = serverEndsMs.some(ms => ms > earlier.startedMs && ms <= later.startedMs);
      const byMs = earlier.lastMs - later.startedMs;
      if (byMs <= (isMoved ? leaseMs : 0)) continue;
      found.push(
        `${earlier.node} (rank ${earlier.rank}) in ${roundOf(earlier)} lives ${byMs.toFixed(1)} ms into ${roundOf(later)} on ${later.node}`,
      );
    }
  }
  return found;
}

/** Numbers of a node's rounds only grow. */
function backwards(lives: readonly Life[], { serverEndsMs }: Evidence): readonly string[] {
  const last = new Map<string, Life>();
  return lives.flatMap(life => {
    const before = last.get(life.node);
    last.set(life.node, life);
    if (before === undefined || before.round < life.round) return [];
    if (serverEndsMs.some(ms => ms <= life.startedMs && ms >= before.startedMs)) return [];
    return [`${life.node} goes from round ${before.round} to round ${life.round}`];
  });
}

function outlived({ lives, ends }: Evidence, { outlivesMs }: Limits): readonly string[] {
  return ends.flatMap(({ node, agent, atMs }) =>
    lives.flatMap(life => {
      if (life.node !== node || life.agent !== agent || life.lastMs <= atMs + outlivesMs) return [];
      return [`a worker of ${node} outlives its agent by ${(life.lastMs - atMs).toFixed(1)} ms`];
    }),
  );
}

/** By how long workers have outlived their agents, at most. */
export function longestOutlived({ lives, ends }: Evidence): number {
  const all = ends.flatMap(({ node, agent, atMs }) =>
    lives.flatMap(life => (life.node === node && life.agent === agent ? [life.lastMs - atMs] : [])),
  );
  return Math.max(0, ...all);
}
