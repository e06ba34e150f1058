import { setTimeout as pause } from 'node:timers/promises';
import { shown } from '../../util/shown.js';
import { checkWatch } from '../checks.js';
import {
  CoordinationError,
  type Revision,
  type Watch,
  type WatchListener,
} from '../coordination.js';
import type { Endpoint } from './endpoint.js';
import { noneAnswered, refused } from './errors.js';
import { isForAnother, type Session } from './session.js';
import { createWatchReader } from './watch-reader.js';
import { streamMessages } from './watch-stream.js';
import type { WatchMessage } from './wire.js';

/** Between attempts, from the second failure in a row on. */
const backOff = { firstMs: 50, factor: 2, mostMs: 2_000 };

export interface WatchOptions {
  readonly prefix: string;
  readonly from: Revision;
  /** Silence after which the member is asked whether it's there. */
  readonly checkMs: number;
}

/** How a stream ended. */
type Ending =
  /** By close(), ours or the session's. */
  | { readonly how: 'closed' }
  /** It's over: tell the listener. */
  | { readonly how: 'final'; readonly error: CoordinationError }
  /** The next one may do better, at another member if there is one. */
  | { readonly how: 'failed'; readonly error: CoordinationError }
  /** The next one needs a new token. */
  | { readonly how: 'stale token' };

/**
 * Follows a prefix from stream to stream, each of which begins where the one before has ended.
 *
 * @throws INVALID
 */
export function startWatch(
  session: Session,
  { prefix, from, checkMs }: WatchOptions,
  listener: WatchListener,
): Watch {
  const what = `watch of ${shown(prefix)}`;
  checkWatch(prefix, from);
  const reader = createWatchReader(what, from);
  const closing = new AbortController();
  /** Of the members, since a stream began last. */
  const failures = new Map<Endpoint, CoordinationError>();
  let failuresInRow = 0;
  let isTokenNew = false;

  // It rejects with what the listener throws, and with nothing else: that's for the process to hear of.
  void run();
  return { close: () => closing.abort() };

  async function run(): Promise<void> {
    for (;;) {
      const endpoint = session.preferred();
      const ending = await follow(endpoint);
      if (ending.how === 'closed') return;
      if (ending.how === 'stale token') continue;
      const error = ending.how === 'final' ? ending.error : noted(endpoint, ending.error);
      if (error !== undefined) return listener.ended(error);
      await backedOff();
      if (closing.signal.aborted) return;
    }
  }

  /** @returns what ends the watch, where no member gives hope */
  function noted(endpoint: Endpoint, error: CoordinationError): CoordinationError | undefined {
    session.avoid(endpoint);
    failures.set(endpoint, error);
    failuresInRow++;
    const all = [...failures.values()];
    const isVain = all.every(({ code }) => code === 'DENIED' || code === 'PROTOCOL');
    return isVain && all.length === session.memberCount ? noneAnswered(what, all) : undefined;
  }

  async function backedOff(): Promise<void> {
    if (failuresInRow === 1) return;
    const ms = Math.min(backOff.firstMs * backOff.factor ** (failuresInRow - 2), backOff.mostMs);
    const jittered = ms * (0.5 + Math.random() / 2);
    // Rejects only when it's closed.
    await pause(jittered, undefined, { signal: closing.signal }).catch(() => {});
  }

  async function follow(endpoint: Endpoint): Promise<Ending> {
    const { signal } = closing;
    reader.restart();
    const options = { what, prefix, from: reader.next(), checkMs, signal };
    try {
      for await (const message of streamMessages(session, endpoint, options)) {
        const ending = hear(message, endpoint);
        if (ending !== undefined) return ending;
      }
      const message = `${what}: etcd at ${endpoint.url} ended it without a word`;
      return { how: 'failed', error: new CoordinationError('UNAVAILABLE', message) };
    } catch (error) {
      if (signal.aborted) return { how: 'closed' };
      if (!(error instanceof CoordinationError)) throw error;
      return endingBy(error);
    }
  }

  function hear(message: WatchMessage, endpoint: Endpoint): Ending | undefined {
    const reading = reader.read(message);
    if ('ended' in reading) return { how: 'final', error: reading.ended };
    if ('cancelled' in reading) {
      const refusal = { code: 14, message: reading.cancelled };
      return endingBy(refused(`${what} at ${endpoint.url}`, refusal, false));
    }

    failures.clear();
    isTokenNew = false;
    if (!message.created) failuresInRow = 0;
    if (reading.told.length > 0) listener.changed(reading.told);
    return closing.signal.aborted ? { how: 'closed' } : undefined;
  }

  function endingBy(error: CoordinationError): Ending {
    if (error.code === 'CLOSED') return { how: 'closed' };
    if (isForAnother(error)) return { how: 'failed', error };
    // etcd 3.4 calls it a lack of permission, too, when it has forgotten the token.
    if (error.code === 'DENIED' && !isTokenNew && session.forgetToken()) {
      isTokenNew = true;
      return { how: 'stale token' };
    }
    return { how: 'final', error };
  }
}
