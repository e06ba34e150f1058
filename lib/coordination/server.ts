import { setTimeout as sleep } from 'node:timers/promises';
import { addressOf } from '../util/address.js';
import { type Deferred, deferred } from '../util/deferred.js';
import { codeOf } from '../util/errno.js';
import { checkText, checkTtl, checkTxn, checkWatch } from './checks.js';
import {
  type Change,
  type Compare,
  type Coordination,
  type CoordinationCode,
  CoordinationError,
  type Lease,
  type Revision,
  type WatchListener,
} from './coordination.js';
import {
  encodeFrame,
  type FrameAnswer,
  type FrameChange,
  type FrameRequest,
  maxRequestBytes,
  type Why,
} from './frames.js';
import { type Link, LinkEnded, openLink } from './link.js';

export interface ServerOptions {
  readonly host: string;
  readonly port: number;
  /** The job's, which agents and server prove to each other that they have. @default none: neither does */
  readonly token?: string | undefined;
  /** For the first connection; and for each call, connections that must be made anew included. @default 5000 */
  readonly timeoutMs?: number;
  /** Nobody listens at the address, says its machine. The next attempt follows. */
  readonly refused?: () => void;
  /** The clock of `onRefused`. @default performance.now */
  readonly nowMs?: () => number;
  /** Gives up the first connection, at once. Later on it's `close` that does. */
  readonly signal?: AbortSignal;
}

/** Our own server's. */
export interface ServerCoordination extends Coordination {
  /** Numeric addresses of the connection, the last one where it's broken: this end's, and the server's. */
  ends(): { readonly local: string; readonly remote: string };
}

const defaultTimeoutMs = 5_000;
/** Before each attempt to connect; the last one from then on. */
const pausesMs = [0, 20, 50, 100, 200, 500, 1000];
/** Of these, the last one where nobody listens: asking costs nobody anything. */
const refusedPause = 3;

/** What refusals mean. */
const refusals: Readonly<Record<Why, { readonly code: CoordinationCode; readonly text: string }>> =
  {
    'lease-lost': { code: 'LEASE_LOST', text: 'the lease has ended' },
    full: {
      code: 'FULL',
      text: 'the server has no more room, which other jobs at it may have taken; give this job a server of its own',
    },
    'too-large': { code: 'INVALID', text: 'more than the server takes, or answers, at once' },
    twice: { code: 'INVALID', text: 'a transaction that changes a key twice' },
    compacted: { code: 'COMPACTED', text: 'the changes from there on are not kept any more' },
    taken: { code: 'PROTOCOL', text: 'a second watch of one id' },
    'wrong-token': { code: 'DENIED', text: "the token is not the server's" },
  };

/** A call that has no answer yet. */
interface Call extends Deferred<FrameAnswer> {
  readonly request: FrameRequest;
  /** Asking again does no harm, should the first answer be lost. */
  readonly isRepeatable: boolean;
  /** To this link. */
  sentOver: Link | undefined;
  readonly timer: NodeJS.Timeout;
}

interface Watching {
  readonly prefix: string;
  next: Revision;
  readonly listener: WatchListener;
}

/**
 * Our own server, as the agents of a job use it. A connection that breaks is made anew, watches go on where they were,
 * and calls that may be repeated are.
 *
 * @throws CoordinationError: UNAVAILABLE where there's no connection in time; PROTOCOL where something else answers;
 * VERSION where that's a server of another version; DENIED where the token isn't the server's, or only one side has one
 */
export async function connectServer(options: ServerOptions): Promise<ServerCoordination> {
  const { host, port, token, timeoutMs = defaultTimeoutMs, refused, signal } = options;
  const { nowMs = () => performance.now() } = options;
  const address = addressOf(host, port);
  const calls = new Map<number, Call>();
  const watches = new Map<number, Watching>();
  /** Those that may live. */
  const leases = new Set<string>();
  const closing = new AbortController();
  let nextId = 1;
  let link: Link | undefined;
  /** Why there's none. */
  let missing = new LinkEnded('it does not answer', {});
  let ends = { local: '', remote: '' };
  /** Of the last server that was reached. */
  let incarnation: string | undefined;
  let isDirect = false;
  const movedListeners: (() => void)[] = [];
  const reachedListeners: ((isThere: boolean) => void)[] = [];
  const refusedListeners: ((sinceMs: number) => void)[] = [];
  /** Whoever listens to that has been told so. */
  let isGone = false;
  let failure: CoordinationError | undefined;

  function error(code: CoordinationCode, why: string, details = {}): CoordinationError {
    return new CoordinationError(code, `${address}: ${why}`, details);
  }

  /** Until there's a link, or it can't be had. */
  async function reach(): Promise<void> {
    for (let attempt = 0; link === undefined && failure === undefined; attempt++) {
      const last = codeOf(missing.cause) === 'ECONNREFUSED' ? refusedPause : pausesMs.length - 1;
      await pause(pausesMs[Math.min(attempt, last)] ?? 0);
      if (closing.signal.aborted) return;
      const sinceMs = nowMs();
      try {
        use(await openLink({ host, port, token }, timeoutMs, closing.signal, { answered, ended }));
      } catch (why) {
        if (!(why instanceof LinkEnded)) throw why;
        missing = why;
        // Of another address a refusal may say nothing of the server.
        if (isDirect && codeOf(why.cause) === 'ECONNREFUSED') {
          reached(false);
          for (const listener of refusedListeners) listener(sinceMs);
        }
        if (why.hopeless === 'token') fail(error('DENIED', why.message));
        if (why.hopeless === 'version') fail(error('VERSION', why.message));
        if (why.hopeless === 'stranger')
          fail(error('PROTOCOL', `not a store of regroup: ${why.message}`));
        if (codeOf(why.cause) === 'ECONNREFUSED') refused?.();
      }
    }
  }

  /** Shorter where the client is closed. */
  async function pause(ms: number): Promise<void> {
    // Agents that have lost one server don't come back all at once.
    const { signal } = closing;
    await sleep(ms * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {});
  }

  function use(opened: Link): void {
    ends = { local: opened.local, remote: opened.remote };
    const isAnother = incarnation !== undefined && incarnation !== opened.incarnation;
    // Else the one before may live, behind the same name or address.
    const hasMoved = isDirect && opened.isDirect;
    isDirect = opened.isDirect;
    incarnation = opened.incarnation;
    if (isAnother) {
      if (hasMoved) leases.clear();
      // What they compare with was another table's, whose revisions may be this one's by chance.
      rejectCalls(
        call => !call.isRepeatable,
        new LinkEnded('another server has taken its place', {}),
      );
      if (hasMoved) for (const moved of movedListeners) moved();
      endWatches(error('COMPACTED', 'another server has taken the place of this one'));
    }
    link = opened;
    reached(true);
    // The server ends soon what the broken connection held, unless it's held again.
    for (const lease of leases) opened.send(nextId++, { ask: 'renew', lease });
    for (const [id, call] of calls) sendCall(id, call);
    for (const [id, watch] of watches) sendWatch(id, watch);
  }

  function reached(isThere: boolean): void {
    if (isGone !== isThere) return;
    isGone = !isThere;
    for (const listener of reachedListeners) listener(isThere);
  }

  function ended(why: LinkEnded): void {
    link = undefined;
    missing = why;
    if (why.hopeless !== undefined) {
      fail(error('PROTOCOL', why.message));
      return;
    }
    rejectCalls(({ sentOver, isRepeatable }) => sentOver !== undefined && !isRepeatable, why);
    void reach();
  }

  function rejectCalls(which: (call: Call) => boolean, why: LinkEnded): void {
    for (const [id, call] of calls) {
      if (!which(call)) continue;
      const isUncertain = call.sentOver !== undefined;
      settle(id)?.reject(error('UNAVAILABLE', why.message, { cause: why, isUncertain }));
    }
  }

  /** For good. */
  function fail(why: CoordinationError): void {
    failure = why;
    link = undefined;
    for (const id of [...calls.keys()]) settle(id)?.reject(why);
    endWatches(why);
  }

  function endWatches(why: CoordinationError): void {
    const over = [...watches.values()];
    watches.clear();
    for (const { listener } of over) listener.ended(why);
  }

  function answered(id: number, answer: FrameAnswer): void {
    const watch = watches.get(id);
    if (watch !== undefined) told(id, watch, answer);
    // Else it may be one that nobody waits for any more, or of a watch that was closed.
    else settle(id)?.resolve(answer);
  }

  function told(id: number, watch: Watching, answer: FrameAnswer): void {
    if (answer.type === 'refused') {
      watches.delete(id);
      const { code, text } = refusals[answer.why];
      watch.listener.ended(error(code, text));
    } else if (answer.type === 'changed') {
      const last = answer.events.at(-1);
      if (last === undefined) return;
      watch.next = (last.type === 'put' ? last.entry.modified : last.modified) + 1;
      watch.listener.changed(answer.events);
    }
  }

  function settle(id: number): Call | undefined {
    const call = calls.get(id);
    calls.delete(id);
    clearTimeout(call?.timer);
    return call;
  }

  function sendCall(id: number, call: Call): void {
    if (link === undefined) return;
    call.sentOver = link;
    link.send(id, call.request);
  }

  function sendWatch(id: number, { prefix, next }: Watching): void {
    link?.send(id, { ask: 'watch', prefix, from: next });
  }

  /** @throws CoordinationError */
  async function call(request: FrameRequest, isRepeatable: boolean): Promise<FrameAnswer> {
    if (failure !== undefined) throw failure;
    if (encodeFrame(0, request).length > maxRequestBytes) {
      throw error('INVALID', refusals['too-large'].text);
    }
    const id = nextId++;
    const due = deferred<FrameAnswer>();
    const timer = setTimeout(() => {
      const late = settle(id);
      if (late === undefined) return;
      const isUncertain = late.sentOver !== undefined && !late.isRepeatable;
      late.reject(
        link === undefined
          ? error('UNAVAILABLE', missing.message, { cause: missing, isUncertain })
          : error('TIMEOUT', `no answer in ${timeoutMs / 1000} s`, { isUncertain }),
      );
      if (late.sentOver !== undefined && late.sentOver === link) link.drop();
    }, timeoutMs);
    const own: Call = { ...due, request, isRepeatable, sentOver: undefined, timer };
    calls.set(id, own);
    sendCall(id, own);
    const answer = await due.promise;
    if (answer.type !== 'refused') return answer;
    const { code, text } = refusals[answer.why];
    throw error(code, text);
  }

  async function txn(compares: readonly Compare[], changes: readonly FrameChange[]) {
    const answer = expect(await call({ ask: 'txn', compares, changes }, false), 'txn-done');
    return { isDone: answer.isDone, revision: answer.revision, entries: answer.entries };
  }

  /** What another kind of answer would be: the server's mistake. */
  function expect<T extends FrameAnswer['type']>(
    answer: FrameAnswer,
    type: T,
  ): Extract<FrameAnswer, { type: T }> {
    if (answer.type !== type) throw error('PROTOCOL', `${answer.type} where ${type} was due`);
    return answer as Extract<FrameAnswer, { type: T }>;
  }

  function leaseOf(id: string, ttlMs: number): Lease {
    return {
      id,
      ttlMs,
      async renew() {
        // From now on it's this client that keeps it, over broken connections too.
        leases.add(id);
        try {
          expect(await call({ ask: 'renew', lease: id }, true), 'leased');
        } catch (why) {
          if (why instanceof CoordinationError && why.code === 'LEASE_LOST') leases.delete(id);
          throw why;
        }
      },
      async revoke() {
        leases.delete(id);
        expect(await call({ ask: 'revoke', lease: id }, true), 'ok');
      },
    };
  }

  const giveUp = (): void => {
    fail(error('UNAVAILABLE', missing.message, { cause: missing }));
    closing.abort();
  };
  const first = setTimeout(giveUp, timeoutMs);
  signal?.addEventListener('abort', giveUp);
  if (signal?.aborted) giveUp();
  await reach();
  clearTimeout(first);
  signal?.removeEventListener('abort', giveUp);
  if (failure !== undefined) throw failure;

  return {
    ends: () => ends,
    async get(prefix) {
      checkText(prefix);
      const { revision, entries } = expect(await call({ ask: 'get', prefix }, true), 'entries');
      return { revision, entries };
    },
    async put(key, value, lease) {
      checkTxn([], [{ put: key, value }]);
      return (await txn([], [{ put: key, value, lease: lease?.id }])).revision;
    },
    async txn(compares, changes) {
      checkTxn(compares, changes);
      return txn(compares, changes.map(frameChange));
    },
    async lease(ttlMs) {
      checkTtl(ttlMs);
      const granted = expect(await call({ ask: 'grant', ttlMs }, true), 'leased');
      return leaseOf(granted.lease, granted.ttlMs);
    },
    watch(prefix, from, listener) {
      if (failure?.code === 'CLOSED') throw failure;
      checkWatch(prefix, from);
      const id = nextId++;
      const watch = { prefix, next: from, listener };
      watches.set(id, watch);
      if (failure === undefined) sendWatch(id, watch);
      else queueMicrotask(() => failure && watches.delete(id) && listener.ended(failure));
      return {
        close() {
          if (watches.delete(id)) link?.send(nextId++, { ask: 'unwatch', watch: id });
        },
      };
    },
    table: () => incarnation ?? '',
    onMoved(listener) {
      movedListeners.push(listener);
    },
    onReached(listener) {
      reachedListeners.push(listener);
    },
    onRefused(listener) {
      refusedListeners.push(listener);
    },
    reconnect() {
      link?.drop();
    },
    async close() {
      if (failure?.code === 'CLOSED') return;
      watches.clear(); // without a word
      const open = link;
      fail(error('CLOSED', 'the client was closed'));
      open?.close();
      closing.abort();
    },
  };
}

function frameChange(change: Change): FrameChange {
  return 'delete' in change ? change : { ...change, lease: change.lease?.id };
}
