import { launchError, valueError } from '../errors.js';
import type { Call, CallOptions, Calls } from './call.js';
import { isLoss } from './connection.js';
import { anybodyThere } from './dial.js';
import type { Session } from './session.js';
import type { Store, StoreValue } from './store.js';
import {
  numberOf,
  type Op,
  type Reading,
  type ReplyLimits,
  type Request,
  readCount,
  readI64,
  readKeys,
  readPopped,
  readPresence,
  readValue,
  readValues,
} from './wire.js';

/** How a request is sent that changes nothing: again, if need be. */
const again = { repeatable: true };
const once = { repeatable: false };

/** What the operations of one client share. */
export interface StoreContext {
  readonly session: Session;
  readonly calls: Calls;
  /** Address of the server, for errors. */
  readonly address: string;
  readonly limits: ReplyLimits;
}

/** @param prefix of user keys, ending in `/`; the root has none */
export function createStore(context: StoreContext, prefix = ''): Store {
  const { session, calls, address, limits } = context;

  // As torch's client, which keeps `init/` to itself that way.
  const wire = (key: string) => `/${prefix}${key}`;

  /** Runs a call that needs these operations. */
  function run<T>(
    ops: readonly Op[],
    what: string,
    options: CallOptions,
    body: (call: Call) => Promise<T>,
  ): Promise<T> {
    return calls.run(what, options, async call => {
      const missing = ops.find(op => numberOf(session.dialect(), op) === undefined);
      if (missing === undefined) return body(call);
      throw launchError('ERR_STORE_UNSUPPORTED', [what, address, session.dialect()]);
    });
  }

  function ask<T>(
    request: Request,
    what: string,
    reading: () => Reading<T>,
    how: { readonly repeatable: boolean },
    options: CallOptions,
  ): Promise<T> {
    const body = (call: Call) => session.exchange(call, [request], reading, how);
    return run([request.op], what, options, body);
  }

  /** Sends a change that the server doesn't answer, and something behind it that it does. */
  async function tell(request: Request, what: string, options: CallOptions): Promise<void> {
    const body = (call: Call) =>
      session.exchange(call, [request, anybodyThere], readPresence, once);
    await run([request.op], what, options, body);
  }

  /** Waits until keys exist. It first looks: most keys are there, and a wait takes a connection of its own. */
  async function present(call: Call, keys: readonly string[]): Promise<void> {
    const there = await session.exchange(call, [{ op: 'check', keys }], readPresence, again);
    if (there) return;
    await session.wait(call, { op: 'wait', keys }, { repeatable: true, reusable: true });
  }

  /**
   * Reads what must be there first. Some servers hang up on a read of what was deleted since, so the
   * two are repeated together.
   */
  async function readPresent<T>(
    call: Call,
    keys: readonly string[],
    request: Request,
    reading: () => Reading<T>,
  ): Promise<T> {
    for (let losses = 0; ; losses++) {
      await present(call, keys);
      try {
        return await session.exchange(call, [request], reading, { repeatable: true, sends: 1 });
      } catch (error) {
        if (!isLoss(error) || losses >= 2) throw error;
      }
    }
  }

  async function pop(call: Call, key: string, block: boolean): Promise<Buffer | undefined> {
    for (;;) {
      const reading = () => readPopped(limits);
      const value = await session.exchange(call, [{ op: 'queuePop', key }], reading, once);
      if (value !== undefined || !block) return value;
      // A stock server may later wake whoever has waited for a queue once, whatever it waits for.
      await session.wait(call, { op: 'wait', keys: [key] }, { repeatable: true, reusable: false });
    }
  }

  function queuePop(
    key: string,
    options: CallOptions & { readonly block?: boolean } = {},
  ): Promise<Buffer | undefined> {
    const name = wire(key);
    return run(['queuePop'], `queuePop of ${name}`, options, call =>
      pop(call, name, options.block ?? true),
    );
  }

  const store: Store = {
    set(key, value, options = {}) {
      const request = { op: 'set', key: wire(key), value: toBytes(value) } as const;
      return tell(request, `set of ${request.key}`, options);
    },
    get(key, options = {}) {
      const name = wire(key);
      return run(['get'], `get of ${name}`, options, call =>
        readPresent(call, [name], { op: 'get', key: name }, () => readValue(limits)),
      );
    },
    async add(key, delta, options = {}) {
      const request = { op: 'add', key: wire(key), delta: toI64('delta', delta) } as const;
      return ask(request, `add to ${request.key}`, readI64, once, options);
    },
    compareSet(key, expected, desired, options = {}) {
      const request = {
        op: 'compareSet',
        key: wire(key),
        expected: toBytes(expected),
        desired: toBytes(desired),
      } as const;
      const what = `compareSet of ${request.key}`;
      return ask(request, what, () => readValue(limits), once, options);
    },
    wait(keys, options = {}) {
      const names = toKeys(keys).map(wire);
      return run(['wait'], `wait for ${listed(names)}`, options, call => present(call, names));
    },
    check(keys, options = {}) {
      const names = toKeys(keys).map(wire);
      const request = { op: 'check', keys: names } as const;
      return ask(request, `check of ${listed(names)}`, readPresence, again, options);
    },
    async deleteKey(key, options = {}) {
      const request = { op: 'deleteKey', key: wire(key) } as const;
      const what = `deleteKey of ${request.key}`;
      return (await ask(request, what, readCount, once, options)) > 0;
    },
    numKeys(options = {}) {
      return ask({ op: 'numKeys' }, 'numKeys', readCount, again, options);
    },
    append(key, value, options = {}) {
      const request = { op: 'append', key: wire(key), value: toBytes(value) } as const;
      return tell(request, `append to ${request.key}`, options);
    },
    multiGet(keys, options = {}) {
      const names = keys.map(wire);
      const request = { op: 'multiGet', keys: names } as const;
      const reading = () => readValues(names.length, limits);
      return run(['multiGet'], `multiGet of ${listed(names)}`, options, async call =>
        names.length === 0 ? [] : readPresent(call, names, request, reading),
      );
    },
    multiSet(pairs, options = {}) {
      const named = [...pairs].map(([key, value]) => [wire(key), toBytes(value)] as const);
      const what = `multiSet of ${listed(named.map(([key]) => key))}`;
      return tell({ op: 'multiSet', pairs: named }, what, options);
    },
    queuePush(key, value, options = {}) {
      const request = { op: 'queuePush', key: wire(key), value: toBytes(value) } as const;
      return tell(request, `queuePush to ${request.key}`, options);
    },
    // An overload can't be told that only `block: false` brings undefined.
    queuePop: queuePop as Store['queuePop'],
    queueLen(key, options = {}) {
      const request = { op: 'queueLen', key: wire(key) } as const;
      return ask(request, `queueLen of ${request.key}`, readCount, again, options);
    },
    async listKeys(options = {}) {
      const keys = await ask(
        { op: 'listKeys' },
        'listKeys',
        () => readKeys(limits),
        again,
        options,
      );
      const start = wire('');
      return keys.filter(key => key.startsWith(start)).map(key => key.slice(start.length));
    },
    async barrier(key, worldSize, options = {}) {
      const size = toI64('worldSize', worldSize);
      if (prefix !== '') return barrierOfAdds(key, size, options);

      const request = { op: 'barrier', key: wire(key), worldSize: size } as const;
      const what = `barrier ${request.key}`;
      await run(['barrier'], what, options, call =>
        session.wait(call, request, { ...once, reusable: true }),
      );
    },
    prefix: name => createStore(context, `${prefix}${name}/`),
  };

  /** @source pytorch v2.13.0, torch/csrc/distributed/c10d/Store.cpp, barrier */
  function barrierOfAdds(key: string, size: bigint, options: CallOptions): Promise<void> {
    const members = wire(`${key}/num_members`);
    const last = wire(`${key}/last_member`);
    return run([], `barrier ${wire(key)}`, options, async call => {
      const arrive = { op: 'add', key: members, delta: 1n } as const;
      const arrived = await session.exchange(call, [arrive], readI64, once);
      if (arrived === size) {
        const release = { op: 'set', key: last, value: toBytes('1') } as const;
        await session.exchange(call, [release, anybodyThere], readPresence, once);
      }
      await present(call, [last]);
    });
  }

  return store;
}

function toBytes(value: StoreValue): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value) : value;
}

function toKeys(keys: string | readonly string[]): readonly string[] {
  return typeof keys === 'string' ? [keys] : keys;
}

/** @throws ERR_OPTION */
function toI64(name: string, value: number | bigint): bigint {
  if (typeof value === 'bigint' || Number.isSafeInteger(value)) {
    const number = BigInt(value);
    if (BigInt.asIntN(64, number) === number) return number;
  }
  throw valueError(name, value, 'a whole number of at most 64 bits');
}

function listed(keys: readonly string[]): string {
  const shown = keys.slice(0, 3).join(', ');
  return keys.length > 3 ? `${shown} and ${keys.length - 3} more` : shown || 'nothing';
}
