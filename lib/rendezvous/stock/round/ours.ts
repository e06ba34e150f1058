import type { WorkerFailure } from '../../../events.js';
import type { Store } from '../../../store/store.js';
import { forOthers } from '../../job/report.js';
import type { FailureReport } from '../../rendezvous.js';

/**
 * What our agents tell each other in a round among those of PyTorch, which tell nobody: that workers have failed, and how. Two
 * keys of the round's, that nobody else looks at; of several failures the last one that was written counts.
 */
export interface OwnFailure extends Own {
  /** Of its workers, the root cause first. */
  readonly failures: readonly WorkerFailure[];
}

const failingKey = 'regroup/failing';
const failedKey = 'regroup/failed';

/** An agent of ours, and the node that it's on: NAME (ADDRESS). */
export interface Own {
  readonly agent: string;
  readonly node: string;
}

/** Workers here have failed, and the others are being stopped. @param store with the round's prefix */
export async function tellFailing(store: Store, own: Own, signal: AbortSignal): Promise<void> {
  await store.set(failingKey, JSON.stringify(own), { signal });
}

/** How they have failed. */
export async function tellFailed(
  store: Store,
  own: Own,
  report: FailureReport,
  signal: AbortSignal,
): Promise<void> {
  const { failures } = forOthers(report);
  await store.set(failedKey, JSON.stringify({ ...own, failures }), { signal });
}

/** Waits until workers of one of our nodes have failed; absent: somebody else has written there. */
export async function hearFailing(store: Store, signal: AbortSignal): Promise<Own | undefined> {
  return ownOf(parsed(await store.get(failingKey, { signal, timeoutMs: forEver })));
}

/** Waits for what that node tells of it; absent as above. */
export async function hearFailed(
  store: Store,
  signal: AbortSignal,
): Promise<OwnFailure | undefined> {
  const told = parsed(await store.get(failedKey, { signal, timeoutMs: forEver }));
  const own = ownOf(told);
  if (own === undefined || !Array.isArray(told.failures)) return undefined;
  const { node } = own;
  return { ...own, failures: told.failures.filter(isFailure).map(each => ({ ...each, node })) };
}

const forEver = Number.POSITIVE_INFINITY;

type Told = Readonly<Partial<Record<'agent' | 'node' | 'failures', unknown>>>;

function ownOf({ agent, node }: Told): Own | undefined {
  return typeof agent === 'string' && typeof node === 'string' ? { agent, node } : undefined;
}

function parsed(bytes: Buffer): Told {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

function isFailure(value: unknown): value is WorkerFailure {
  return typeof value === 'object' && value !== null && 'rank' in value;
}
