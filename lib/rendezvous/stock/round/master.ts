import { setTimeout as pause } from 'node:timers/promises';
import type { Store } from '../../../store/store.js';
import type { MasterAddress } from '../../rendezvous.js';
import { MalformedState } from '../values.js';
import { roundPrefix } from './exchange.js';

/**
 * Where a round has its workers' store, as PyTorch's agents tell it: rank 0 by two keys of the round. From 2.4 on each agent
 * keeps what it has been told first for all later rounds, so that one that has come later finds nothing at its own round.
 *
 * @source pytorch v2.13.0, torch/distributed/elastic/rendezvous: api.py, RendezvousStoreInfo, and dynamic_rendezvous.py,
 *   next_rendezvous, _bootstrap_store_info
 */
export interface Masters {
  /** All keys. */
  readonly store: Store;
  readonly runId: string;
  readonly round: number;
  /** Whether the others may have kept that of a round before. */
  readonly mayBeKept: boolean;
  /** Whether a store answers there. */
  isThere(master: StoreAt, signal: AbortSignal): Promise<boolean>;
}

export interface StoreAt {
  readonly host: string;
  readonly port: number;
}

const hostKey = 'MASTER_ADDR';
const portKey = 'MASTER_PORT';

const lookMs = 200;

/** Says it to the others, as rank 0. */
export async function publish(
  { store, runId, round }: Pick<Masters, 'store' | 'runId' | 'round'>,
  { host, port }: StoreAt,
  signal: AbortSignal,
): Promise<void> {
  const keys = store.prefix(roundPrefix(runId, round));
  await keys.set(hostKey, host, { signal });
  await keys.set(portKey, `${port}`, { signal });
}

/** Says that of a round before, where rank 0 says nothing in this one: later comers of PyTorch's would wait for it in vain. */
export async function publishKept(
  { store, runId, round }: Pick<Masters, 'store' | 'runId' | 'round'>,
  { host, port }: StoreAt,
  signal: AbortSignal,
): Promise<void> {
  const keys = store.prefix(roundPrefix(runId, round));
  await keys.compareSet(hostKey, '', host, { signal });
  await keys.compareSet(portKey, '', `${port}`, { signal });
}

/**
 * Hears it of rank 0, or takes that of the last round before that is still there, where rank 0 says nothing in this one.
 *
 * @param ranks settles once rank 0 has said all: PyTorch's gives out the ranks after that
 */
export async function hear(
  around: Masters,
  ranks: Promise<unknown>,
  signal: AbortSignal,
): Promise<MasterAddress & { readonly kept: boolean }> {
  let isSaid = false;
  const settled = (): void => {
    isSaid = true;
  };
  ranks.then(settled, settled);
  for (;;) {
    const wasSaid = isSaid;
    const said = await saidIn(around, around.round, signal);
    if (said !== undefined) return { ...said, isOurs: false, kept: false };
    const kept = wasSaid ? await keptMaster(around, signal) : undefined;
    if (kept !== undefined) return { ...kept, isOurs: false, kept: true };
    await pause(lookMs, undefined, { signal });
  }
}

/** That of the last round before that still answers; none where nobody keeps any. */
export async function keptMaster(
  around: Masters,
  signal: AbortSignal,
): Promise<StoreAt | undefined> {
  if (!around.mayBeKept) return undefined;
  for (let round = around.round - 1; round >= 0; round--) {
    const said = await saidIn(around, round, signal);
    if (said !== undefined) return (await around.isThere(said, signal)) ? said : undefined;
  }
  return undefined;
}

/** @throws MalformedState */
async function saidIn(
  { store, runId }: Masters,
  round: number,
  signal: AbortSignal,
): Promise<StoreAt | undefined> {
  const keys = store.prefix(roundPrefix(runId, round));
  if (!(await keys.check([hostKey, portKey], { signal }))) return undefined;
  const [host, text] = await Promise.all([
    keys.get(hostKey, { signal }),
    keys.get(portKey, { signal }),
  ]);
  const port = Number(text.toString());
  if (host.length === 0 || !Number.isInteger(port) || port < 1 || port > 65_535)
    throw new MalformedState('what rank 0 says of the store of the workers is no address');
  return { host: host.toString(), port };
}
