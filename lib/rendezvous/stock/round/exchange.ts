import { setTimeout as pause } from 'node:timers/promises';
import type { Store } from '../../../store/store.js';
import { deferred } from '../../../util/deferred.js';
import type { MasterAddress, Place } from '../../rendezvous.js';
import { type Generation, hasSpares } from '../state.js';
import { MalformedState } from '../values.js';

/**
 * What PyTorch's agents tell each other in a round that is complete, by keys of the store: how many workers each has, which
 * ranks they get, and where rank 0 has the workers' store.
 *
 * @source pytorch v1.13.1 and v2.13.0, torch/distributed/elastic/agent/server/api.py, _rendezvous and _assign_worker_ranks;
 *   rendezvous/api.py, RendezvousStoreInfo.build; utils/store.py
 */
export interface Exchange {
  /** Whose keys begin with the round's prefix. */
  readonly store: Store;
  readonly way: Way;
  readonly rank: number;
  /** Nodes. */
  readonly size: number;
  readonly localWorldSize: number;
  readonly role: string;
  /**
   * Where rank 0 has the store: this node, if it is.
   *
   * @param ranks settles once the ranks are known: where its agent serves it, rank 0 has said it before, or doesn't
   */
  master(ranks: Promise<unknown>): Promise<MasterAddress>;
  /** Given up, it rejects with the reason. */
  readonly signal: AbortSignal;
}

/** Below which a round's keys are. */
export function roundPrefix(runId: string, round: number): string {
  return `torch.rendezvous.${runId}.${round}`;
}

const infoKey = 'torchelastic/role_info';
/** Of ours alone. */
const oursKey = 'regroup/node';
const assignedKey = 'torchelastic/assigned_ranks';

/**
 * How the nodes of a round tell each other of their ranks: each reads what all have written, up to 2.3; or rank 0 gives them out,
 * whose agent may then serve the workers' store.
 */
export type Way = 'gathered' | 'assigned';

/** Between two looks at what others write first. */
const lookMs = 100;

/**
 * Finds the way of the others. Their states tell, but for those of 2.3 to 2.5, which are alike: there it's the first key that
 * one of them writes. A node of ours writes both, and that it's one of ours before; with rank 0 it writes the one that it has seen.
 */
export async function findWay(
  generation: Generation,
  around: Pick<Exchange, 'store' | 'rank' | 'size' | 'signal' | 'localWorldSize' | 'role'>,
): Promise<Way> {
  if (generation !== '2.3') return hasSpares(generation) ? 'assigned' : 'gathered';
  const { store, rank, size, signal } = around;
  if (rank > 0) {
    const info = ownInfo(around);
    await store.set(`${oursKey}/${rank}`, '', { signal });
    await store.set(`${infoKey}${rank}`, info, { signal });
    await store.set(`${infoKey}/${rank}`, info, { signal });
  }
  const others = rank > 0 ? [0] : Array.from({ length: size - 1 }, (_, index) => index + 1);
  for (;;) {
    const ways = await Promise.all(others.map(each => wayOf(each, store, signal)));
    const told = ways.find(way => way === 'gathered' || way === 'assigned');
    if (told !== undefined) return told;
    // Nobody but nodes of ours.
    if (ways.every(way => way === 'ours')) return 'assigned';
    await pause(lookMs, undefined, { signal });
  }
}

async function wayOf(
  rank: number,
  store: Store,
  signal: AbortSignal,
): Promise<Way | 'ours' | undefined> {
  const isAssigned = await store.check(`${infoKey}/${rank}`, { signal });
  if (!isAssigned && !(await store.check(`${infoKey}${rank}`, { signal }))) return undefined;
  const isOurs = await store.check(`${oursKey}/${rank}`, { signal });
  if (isOurs && rank > 0) return 'ours';
  return isAssigned ? 'assigned' : 'gathered';
}

/** @throws as the store's calls; MalformedState where others have written something else */
export async function exchange(around: Exchange): Promise<{ place: Place; master: MasterAddress }> {
  const isHere = deferred<void>();
  const ranks = (async () => {
    // Whoever knows its rank takes it that rank 0 has said all.
    if (around.rank === 0) await isHere.promise;
    return around.way === 'assigned' ? assignedRanks(around) : gatheredRanks(around);
  })();
  const masters = around.master(ranks).then(master => {
    isHere.resolve();
    return master;
  });
  const [{ firstRank, worldSize }, master] = await Promise.all([ranks, masters]);
  const { rank: groupRank, size: groupWorldSize } = around;
  return { place: { groupRank, groupWorldSize, firstRank, worldSize }, master };
}

interface Ranks {
  readonly firstRank: number;
  readonly worldSize: number;
}

async function assignedRanks(around: Exchange): Promise<Ranks> {
  const { store, rank, size, signal } = around;
  const patience = { signal, timeoutMs: Number.POSITIVE_INFINITY };
  await store.set(`${infoKey}/${rank}`, ownInfo(around), { signal });
  if (rank === 0) {
    const keys = Array.from({ length: size }, (_, index) => `${infoKey}/${index}`);
    const infos = (await store.multiGet(keys, patience)).map(infoOf);
    const assigned = assign(infos).map(
      (numbers, index) => [`${assignedKey}/${index}`, JSON.stringify(numbers)] as const,
    );
    await store.multiSet(assigned, { signal });
  }
  const numbers = json(await store.get(`${assignedKey}/${rank}`, patience));
  const [firstRank, worldSize] = Array.isArray(numbers) ? numbers : [];
  if (!isCount(firstRank) || !isCount(worldSize) || firstRank >= worldSize)
    throw new MalformedState(`the ranks of node ${rank} are none`);
  return { firstRank, worldSize };
}

/** First global rank, workers in the job, first rank in the role, workers in the role: of each node. */
export function assign(infos: readonly Info[]): readonly (readonly number[])[] {
  const sum = (some: readonly Info[]): number =>
    some.reduce((before, { workers }) => before + workers, 0);
  return infos.map(({ role }, index) => {
    const before = infos.slice(0, index);
    const sameRole = (each: Info): boolean => each.role === role;
    const ranks = [sum(before), sum(infos)];
    return [...ranks, sum(before.filter(sameRole)), sum(infos.filter(sameRole))];
  });
}

async function gatheredRanks(around: Exchange): Promise<Ranks> {
  const { rank } = around;
  const infos = (await synchronize(around, infoKey, ownInfo(around))).map(infoOf);
  const [firstRank = 0, worldSize = 0] = assign(infos)[rank] ?? [];
  return { firstRank, worldSize };
}

/**
 * Writes this node's value and reads those of all, as releases before 2.4 do. Rank 0 returns last, as it may have the store.
 *
 * @source pytorch v1.13.1, torch/distributed/elastic/utils/store.py, synchronize
 */
async function synchronize(
  { store, rank, size, signal }: Pick<Exchange, 'store' | 'rank' | 'size' | 'signal'>,
  key: string,
  value: string,
): Promise<readonly Buffer[]> {
  const patience = { signal, timeoutMs: Number.POSITIVE_INFINITY };
  await store.set(`${key}${rank}`, value, { signal });
  const values: Buffer[] = [];
  for (let each = 0; each < size; each++) {
    values.push(await store.get(`${key}${each}`, patience));
  }
  await store.set(`${key}${rank}.FIN`, 'FIN', { signal });
  if (rank > 0) return values;
  const done = Array.from({ length: size }, (_, each) => `${key}${each}.FIN`);
  await store.wait(done, patience);
  return values;
}

const terminalKey = 'torchelastic/agent/terminal_state';

/**
 * Waits for the workers of all nodes to have ended, as each of them says.
 *
 * @source pytorch v1.13.1 and v2.13.0, torch/distributed/elastic/agent/server/api.py, _exit_barrier
 */
export async function exitBarrier(
  around: Pick<Exchange, 'store' | 'way' | 'rank' | 'size' | 'signal'>,
): Promise<void> {
  const { store, way, rank, size, signal } = around;
  if (way === 'gathered') {
    await synchronize(around, terminalKey, `${rank}`);
    return;
  }
  const last = `${terminalKey}/last_member`;
  const come = await store.add(`${terminalKey}/num_members`, 1, { signal });
  if (come >= BigInt(size)) await store.set(last, '<val_ignored>', { signal });
  await store.wait(last, { signal, timeoutMs: Number.POSITIVE_INFINITY });
}

/** Whether some node's workers have ended well: it waits in the barrier, or has waited long enough. */
export async function haveSomeEnded(
  { store, way, size, signal }: Pick<Exchange, 'store' | 'way' | 'size' | 'signal'>, //
): Promise<boolean> {
  if (way === 'assigned') return store.check(`${terminalKey}/num_members`, { signal });
  const there = Array.from({ length: size }, (_, each) =>
    store.check(`${terminalKey}${each}`, { signal }),
  );
  return (await Promise.all(there)).includes(true);
}

export interface Info {
  readonly role: string;
  readonly workers: number;
}

function ownInfo({
  role,
  rank,
  localWorldSize,
}: Pick<Exchange, 'role' | 'rank' | 'localWorldSize'>): string {
  return JSON.stringify({ role, rank, local_world_size: localWorldSize });
}

/** @throws MalformedState */
function infoOf(bytes: Buffer): Info {
  const info = json(bytes);
  const { role, local_world_size: workers } = isObject(info) ? info : {};
  if (typeof role !== 'string' || !isCount(workers) || workers === 0)
    throw new MalformedState('what a node says of its workers is something else');
  return { role, workers };
}

/** @throws MalformedState */
function json(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    throw new MalformedState('what a node has written for the others is no JSON');
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
