import { type Coordination, CoordinationError } from '../coordination/coordination.js';

/** How long an engine may have no room: others may leave it, or somebody may make some. */
const limitMs = 60_000;
/** Who asks again does so sooner; later it's another shortage. */
const gapMs = 10_000;

/**
 * The same engine, whose refusals for lack of room say that this lasts once it has for a minute: trying again would be
 * in vain, perhaps for ever.
 */
export function withPatience(coordination: Coordination, nowMs: () => number): Coordination {
  const changes = shortage(nowMs);
  const watches = shortage(nowMs);

  async function judged<T>(call: Promise<T>): Promise<T> {
    try {
      const done = await call;
      changes.over();
      return done;
    } catch (error) {
      throw changes.judge(error);
    }
  }

  return {
    ...coordination,
    put: (key, value, lease) => judged(coordination.put(key, value, lease)),
    txn: (compares, wanted) => judged(coordination.txn(compares, wanted)),
    lease: ttlMs => judged(coordination.lease(ttlMs)),
    watch: (prefix, from, listener) =>
      coordination.watch(prefix, from, {
        changed(events) {
          watches.over();
          listener.changed(events);
        },
        ended: error => listener.ended(watches.judge(error)),
      }),
  };
}

/** One kind of call's: a watch that's refused says nothing of changes. */
function shortage(nowMs: () => number) {
  let sinceMs: number | undefined;
  let lastMs = 0;

  function lasting(error: CoordinationError): CoordinationError {
    const now = nowMs();
    if (sinceMs === undefined || now - lastMs > gapMs) sinceMs = now;
    lastMs = now;
    if (now - sinceMs < limitMs) return error;
    const message = `${error.message} (it has had none for ${limitMs / 1000} s)`;
    return new CoordinationError('FULL', message, { cause: error, isLasting: true });
  }

  return {
    over(): void {
      sinceMs = undefined;
    },
    judge<E>(error: E): E | CoordinationError {
      return error instanceof CoordinationError && error.code === 'FULL' ? lasting(error) : error;
    },
  };
}
