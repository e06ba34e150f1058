import { setTimeout as pause } from 'node:timers/promises';
import { RegroupError } from '../../errors.js';
import type { Store } from '../../store/store.js';
import { decodeState, encodeState, type Generation, noState, type StockState } from './state.js';
import { MalformedState } from './values.js';

/** What a look at the state leads to. */
export interface Next {
  /** To be written in place of what was read. */
  readonly write?: { readonly state: StockState; readonly generation: Generation };
  /** Until the next look, where nothing is to be written; absent: until `wake`. */
  readonly pauseMs?: number;
}

export interface Sync {
  /** Looks again at once. */
  wake(): void;
  /** No look follows. */
  close(): void;
}

export interface SyncSurroundings {
  readonly store: Store;
  readonly key: string;
  /** @throws what ends it */
  seen(stored: StockState | undefined): Next;
  /** What was wanted has been written. @param beganBootMs before it was sent */
  written(state: StockState, beganBootMs: number): void;
  bootMs(): number;
  /** Called once: nothing follows. */
  failed(error: unknown): void;
}

/**
 * For one call of the store: whoever has it may have stood still for a moment.
 *
 * @source pytorch v2.13.0, torch/distributed/elastic/rendezvous/c10d_rendezvous_backend.py, read_timeout
 */
const callMs = 60_000;
/** Between two writes that follow each other at least, whatever others write in turn. */
const writeGapMs = 20;

/**
 * Looks at the state that all agents share, and replaces it as a whole where it's still what was read: what was there is the
 * token. The server tells nobody of a change, so it's asked again and again.
 *
 * @source pytorch v2.13.0, torch/distributed/elastic/rendezvous/c10d_rendezvous_backend.py, get_state and set_state
 */
export function startSync(around: SyncSurroundings): Sync {
  const { store, key } = around;
  const over = new AbortController();
  const options = { signal: over.signal, timeoutMs: callMs };
  let isWoken = false;
  let resume: (() => void) | undefined;

  async function follow(): Promise<void> {
    await unlessUnknown(store.compareSet(key, '', noState, options));
    let text = await store.get(key, options);
    let hasWritten = false;
    while (!over.signal.aborted) {
      if (hasWritten) await pause(writeGapMs, undefined, { signal: over.signal });
      const { write, pauseMs } = around.seen(decodeState(text));
      if (over.signal.aborted) return;
      hasWritten = write !== undefined;
      if (write === undefined) {
        await nap(pauseMs);
        text = await store.get(key, options);
      } else {
        text = await replace(text, write.state, encodeState(write.state, write.generation));
      }
    }
  }

  /** @returns what is there now */
  async function replace(text: Buffer, state: StockState, wanted: Buffer): Promise<Buffer> {
    const beganBootMs = around.bootMs();
    const there = await unlessUnknown(store.compareSet(key, text, wanted, options));
    if (there === undefined) return store.get(key, options);
    if (there.equals(wanted)) around.written(state, beganBootMs);
    // So the server answers where the key isn't there, and stores nothing.
    else if (there.equals(text)) throw new MalformedState('the store has lost it');
    return there;
  }

  function nap(pauseMs: number | undefined): Promise<void> {
    if (isWoken) {
      isWoken = false;
      return Promise.resolve();
    }
    return new Promise(resolve => {
      const timer = pauseMs === undefined ? undefined : setTimeout(() => resume?.(), pauseMs);
      resume = () => {
        clearTimeout(timer);
        resume = undefined;
        isWoken = false;
        resolve();
      };
    });
  }

  function wake(): void {
    isWoken = true;
    resume?.();
  }

  follow().catch(error => {
    if (over.signal.aborted) return;
    over.abort();
    around.failed(error);
  });
  return {
    wake,
    close() {
      over.abort();
      wake();
    },
  };
}

/** A change whose answer was lost may have been made: the next look tells. */
async function unlessUnknown(change: Promise<Buffer>): Promise<Buffer | undefined> {
  try {
    return await change;
  } catch (error) {
    const isUnknown = error instanceof RegroupError && error.code === 'ERR_STORE_OUTCOME_UNKNOWN';
    if (isUnknown) return undefined;
    throw error;
  }
}
