import { launchError, valueError } from '../errors.js';
import { maxTimerMs } from '../util/duration.js';
import { ConnectionLost, malformed } from './connection.js';

export interface CallOptions {
  /** Ends the call, which then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Deadline from the call on, reconnecting included; Infinity for none. @default the client's */
  readonly timeoutMs?: number | undefined;
}

/** One call of a client's method, until it's settled. */
export interface Call {
  /** Aborted by the caller's signal, the deadline and the client's close(). */
  readonly signal: AbortSignal;
  /** A change was sent that isn't confirmed. */
  atRisk: boolean;
  /** Nothing could be sent, so far for this reason. */
  unreachable: string | undefined;
  /** The promise, or the rejection by `signal`'s reason, whichever is first. */
  race<T>(promise: Promise<T>): Promise<T>;
}

class Deadline extends Error {}
class Closed extends Error {}

export interface Calls {
  /**
   * @param what for errors: `get of /key`
   * @throws as the errors of {@link StoreClient} say
   */
  run<T>(what: string, options: CallOptions, body: (call: Call) => Promise<T>): Promise<T>;
  /** Ends those that run, and refuses new ones. */
  close(): void;
}

/** @param address for errors: `host:port` */
export function createCalls(address: string, defaultTimeoutMs: number): Calls {
  const running = new Set<AbortController>();
  const signals = createFanOut();
  let isClosed = false;

  return {
    async run(what, options, body) {
      const timeoutMs = checkTimeout(options.timeoutMs ?? defaultTimeoutMs);
      options.signal?.throwIfAborted();
      if (isClosed) throw launchError('ERR_STORE_CLOSED', [what, address]);

      const startedAt = performance.now();
      const controller = new AbortController();
      const expire = () => controller.abort(new Deadline());
      const timer = timeoutMs <= maxTimerMs ? setTimeout(expire, timeoutMs) : undefined;
      if (options.signal !== undefined) signals.add(options.signal, controller);
      running.add(controller);
      const call = createCall(controller.signal);
      try {
        return await body(call);
      } catch (error) {
        const afterMs = Math.round(performance.now() - startedAt);
        throw explain(error, call, { what, address, afterMs });
      } finally {
        clearTimeout(timer);
        if (options.signal !== undefined) signals.delete(options.signal, controller);
        running.delete(controller);
      }
    },
    close() {
      isClosed = true;
      for (const controller of running) controller.abort(new Closed());
    },
  };
}

/**
 * Aborts controllers by a signal that many calls may share. One listener for them all: Node warns of
 * more than ten.
 */
function createFanOut() {
  const groups = new Map<AbortSignal, { members: Set<AbortController>; abort: () => void }>();
  return {
    add(signal: AbortSignal, controller: AbortController): void {
      let group = groups.get(signal);
      if (group === undefined) {
        const members = new Set<AbortController>();
        const abort = () => {
          for (const member of members) member.abort(signal.reason);
        };
        group = { members, abort };
        groups.set(signal, group);
        signal.addEventListener('abort', abort, { once: true });
      }
      group.members.add(controller);
    },
    delete(signal: AbortSignal, controller: AbortController): void {
      const group = groups.get(signal);
      group?.members.delete(controller);
      if (group === undefined || group.members.size > 0) return;
      groups.delete(signal);
      signal.removeEventListener('abort', group.abort);
    },
  };
}

/** @throws ERR_OPTION */
export function checkTimeout(timeoutMs: number): number {
  if (timeoutMs >= 0) return timeoutMs;
  throw valueError('timeoutMs', timeoutMs, 'milliseconds, 0 or more');
}

function createCall(signal: AbortSignal): Call {
  const stopped = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  // Whoever races hears of it; a call may end without having raced once more.
  stopped.catch(() => {});
  return {
    signal,
    atRisk: false,
    unreachable: undefined,
    race: promise => Promise.race([promise, stopped]),
  };
}

/** What the caller is told about whatever ended the call. */
function explain(
  error: unknown,
  call: Call,
  { what, address, afterMs }: { what: string; address: string; afterMs: number },
): unknown {
  if (error instanceof Closed) return launchError('ERR_STORE_CLOSED', [what, address]);
  if (error instanceof Deadline) {
    if (call.atRisk) {
      return launchError('ERR_STORE_OUTCOME_UNKNOWN', [
        what,
        address,
        afterMs,
        'no answer in time',
      ]);
    }
    if (call.unreachable !== undefined) {
      return launchError('ERR_STORE_CONNECT', [address, afterMs, call.unreachable]);
    }
    return launchError('ERR_STORE_TIMEOUT', [what, address, afterMs]);
  }
  if (!(error instanceof ConnectionLost)) return error;

  const cause = error.cause ?? error;
  if (call.atRisk) {
    const args = [what, address, afterMs, error.message] as const;
    return launchError('ERR_STORE_OUTCOME_UNKNOWN', [...args], cause);
  }
  if (malformed(error)) {
    return launchError('ERR_STORE_PROTOCOL', [what, address, error.message], cause);
  }
  return launchError('ERR_STORE_LOST', [what, address, afterMs, error.message], cause);
}
