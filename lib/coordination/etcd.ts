import { shown } from '../util/shown.js';
import { checkTtl } from './checks.js';
import {
  type Change,
  type Compare,
  type Coordination,
  CoordinationError,
  type Lease,
  type Watch,
} from './coordination.js';
import { type EtcdOptions, openEndpoints } from './etcd/options.js';
import { openSession, type Session } from './etcd/session.js';
import { startWatch } from './etcd/watch.js';
import {
  type Answer,
  encodeKey,
  encodePut,
  encodeTxn,
  type RangeAnswer,
  rangeOf,
  readEntry,
  revisionOf,
  type TxnAnswer,
} from './etcd/wire.js';

export type { EtcdOptions };

/**
 * etcd v3, from 3.4 on, through the JSON gateway that each member has on its client port. A put or transaction whose
 * answer got lost rejects with `isUncertain` and isn't repeated; all else is asked of every member, each once.
 *
 * @throws CoordinationError: INVALID for the options, and whatever the first request brings
 */
export async function connectEtcd(options: EtcdOptions): Promise<Coordination> {
  const session = openSession(
    await openEndpoints(options),
    options.user,
    options.timeoutMs ?? 5_000,
  );
  try {
    await greet(session);
  } catch (error) {
    session.close();
    throw error;
  }
  const { watchCheckMs = 5_000, renewTimeoutMs = session.timeoutMs } = options;
  return overSession(session, watchCheckMs, renewTimeoutMs);
}

/** Asks for a key that nobody has, so that wrong addresses, certificates and passwords are told of at once. */
async function greet(session: Session): Promise<void> {
  const body = { key: encodeKey('\0') };
  try {
    await session.ask({ what: 'first request', path: '/v3/kv/range', body, kind: 'read' });
  } catch (error) {
    // Other keys may be allowed.
    if (error instanceof CoordinationError && /permission denied/.test(error.message)) return;
    throw error;
  }
}

function overSession(session: Session, checkMs: number, renewTimeoutMs: number): Coordination {
  const watches = new Set<Watch>();

  return {
    async get(prefix) {
      const answer = await session.ask<RangeAnswer>({
        what: `get of ${shown(prefix)}`,
        path: '/v3/kv/range',
        body: rangeOf(prefix),
        kind: 'read',
      });
      const entries = (answer.kvs ?? []).map(readEntry);
      return { revision: revisionOf(answer), entries };
    },

    async put(key, value, lease) {
      const answer = await session.ask({
        what: `put of ${shown(key)}`,
        path: '/v3/kv/put',
        body: encodePut(key, value, lease?.id),
        kind: 'change',
      });
      return revisionOf(answer);
    },

    async txn(compares, changes) {
      const answer = await session.ask<TxnAnswer>({
        what: `transaction on ${shownKeys(compares, changes)}`,
        path: '/v3/kv/txn',
        body: encodeTxn(compares, changes),
        kind: changes.length === 0 ? 'read' : 'change',
      });
      const isDone = answer.succeeded ?? false;
      const found = (answer.responses ?? []).flatMap(each => each.response_range?.kvs ?? []);
      const entries = isDone ? [] : found.map(readEntry);
      return { isDone, revision: revisionOf(answer), entries };
    },

    async lease(ttlMs) {
      // A lease too many, if an answer got lost, has no keys and ends by itself.
      const answer = await session.ask<LeaseAnswer>({
        what: `grant of a lease of ${ttlMs} ms`,
        path: '/v3/lease/grant',
        body: { TTL: wholeSeconds(ttlMs) },
        kind: 'repeatable change',
      });
      return overLease(session, renewTimeoutMs, answer);
    },

    watch(prefix, from, listener) {
      session.throwIfClosed(`watch of ${shown(prefix)}`);
      const watch = startWatch(
        session,
        { prefix, from, checkMs },
        {
          changed: events => listener.changed(events),
          ended(error) {
            watches.delete(watch);
            listener.ended(error);
          },
        },
      );
      watches.add(watch);
      return {
        close() {
          watches.delete(watch);
          watch.close();
        },
      };
    },

    async close() {
      for (const watch of watches) watch.close();
      watches.clear();
      session.close();
    },
  };
}

/** @source etcd 3.4.23, etcdserver/etcdserverpb/rpc.proto; seconds, at least 1.5 election time-outs */
interface LeaseAnswer extends Answer {
  readonly ID?: string;
  readonly TTL?: string;
}

function overLease(session: Session, renewTimeoutMs: number, granted: LeaseAnswer): Lease {
  const id = granted.ID ?? '';
  let isLost = false;
  const lost = () => {
    isLost = true;
    return new CoordinationError('LEASE_LOST', `lease ${id} has ended`);
  };

  return {
    id,
    ttlMs: Number(granted.TTL) * 1000,
    async renew() {
      if (isLost) throw lost();
      const answer = await session.ask<LeaseAnswer>({
        what: `renewal of lease ${id}`,
        path: '/v3/lease/keepalive',
        body: { ID: id },
        kind: 'repeatable change',
        timeoutMs: renewTimeoutMs,
      });
      // A lease that etcd doesn't know has no time left: that isn't an error there.
      if (!(Number(answer.TTL) > 0)) throw lost();
    },
    async revoke() {
      if (isLost) return;
      try {
        await session.ask({
          what: `revocation of lease ${id}`,
          path: '/v3/lease/revoke',
          body: { ID: id },
          kind: 'repeatable change',
        });
      } catch (error) {
        if (!(error instanceof CoordinationError) || error.code !== 'LEASE_LOST') throw error;
      }
      isLost = true;
    },
  };
}

/** @throws INVALID */
function wholeSeconds(ttlMs: number): string {
  checkTtl(ttlMs);
  return String(Math.ceil(ttlMs / 1000));
}

function shownKeys(compares: readonly Compare[], changes: readonly Change[]): string {
  const keys = [
    ...compares.map(({ key }) => key),
    ...changes.map(change => ('put' in change ? change.put : change.delete)),
  ];
  const [first, ...others] = new Set(keys);
  if (first === undefined) return 'no keys';
  return others.length === 0 ? shown(first) : `${shown(first)} and ${others.length} more`;
}
