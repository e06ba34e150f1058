import { valueError } from '../errors.js';
import { addressOf } from '../util/address.js';
import { type Call, checkTimeout, createCalls } from './call.js';
import { anybodyThere } from './dial.js';
import { createStore } from './operations.js';
import { createSession } from './session.js';
import type { CallOptions, StoreClient } from './store.js';
import { type Dialect, readI64, readNonce, readPresence } from './wire.js';

export interface ConnectOptions extends CallOptions {
  /** A name or an address, of either family. */
  readonly host: string;
  readonly port: number;
  /** Deadline of connecting, and of each call that doesn't give one. Infinity for none. @default 300_000, as torch's client */
  readonly timeoutMs?: number | undefined;
  /**
   * What the server speaks: `A` for PyTorch 1.13 and 2.0, `B` for 2.1, `D` for 2.2 and later and for
   * ours, which speaks them all. There's no negotiation: `auto` says hello in D, and if the server
   * hangs up, asks in A, and then in D without PING, which 2.2 to 2.4 don't know. It takes B for A: they differ in
   * DELETE_KEY, and in what A doesn't have. @default 'auto'
   */
  readonly dialect?: Dialect | 'auto' | undefined;
  /** false for a server of 2.2 to 2.4, which hangs up on PING, to find it at the first attempt; give dialect `D` then. @default true */
  readonly ping?: boolean | undefined;
  /**
   * Counts this client as a worker that has connected: adds 1 to `init/`, as torch's client does if
   * it's given a world size. A worker that hosts the store waits for that. @default false
   */
  readonly countAsWorker?: boolean | undefined;
  /** The longest value that's accepted from the server. @default 64 MiB, as our server's limit */
  readonly maxValueBytes?: number | undefined;
}

/** Most keys that are listed: as many as can come of a request of 256 MiB, our server's limit. */
const mostListedKeys = 1 << 24;

/**
 * Connects to a TCPStore: PyTorch's own, of 1.13 or any later release, or ours. Tries until the
 * deadline, so the server may start later.
 *
 * ```js
 * await using store = await connectStore({ host: '127.0.0.1', port: 29500 });
 * await store.set('step', '7');
 * ```
 *
 * @throws ERR_STORE_CONNECT once the deadline has passed; ERR_STORE_PROTOCOL if somebody else is there;
 *   ERR_OPTION; the signal's reason
 */
export async function connectStore(options: ConnectOptions): Promise<StoreClient> {
  const { host, port, dialect = 'auto', ping = true, countAsWorker = false } = options;
  check('host', host, host !== '', 'a name or an address');
  check('port', port, Number.isInteger(port) && port > 0 && port < 65_536, '1 to 65535');
  check('dialect', dialect, ['auto', 'A', 'B', 'D'].includes(dialect), 'auto, A, B or D');
  const timeoutMs = checkTimeout(options.timeoutMs ?? 300_000);
  const valueBytes = options.maxValueBytes ?? 64 * 2 ** 20;
  check('maxValueBytes', valueBytes, valueBytes >= 0, 'a number of bytes');

  const address = addressOf(host, port);
  const calls = createCalls(address, timeoutMs);
  const session = createSession({ host, port }, { dialect, ping });
  const limits = { valueBytes, listKeys: mostListedKeys };
  const join = async (call: Call) => {
    await session.open(call);
    const one = { op: 'add', key: 'init/', delta: 1n } as const;
    if (countAsWorker) await session.exchange(call, [one], readI64, { repeatable: false });
  };
  try {
    await calls.run('connect', { signal: options.signal }, join);
  } catch (error) {
    await session.close();
    throw error;
  }

  const close = () => {
    calls.close();
    return session.close();
  };
  return {
    ...createStore({ session, calls, address, limits }),
    host,
    port,
    dialect: session.dialect(),
    ping(callOptions = {}) {
      const nonce = Math.floor(Math.random() * 2 ** 32);
      const again = { repeatable: true };
      return calls.run('ping', callOptions, async call => {
        if (session.knowsPing()) {
          await session.exchange(call, [{ op: 'ping', nonce }], () => readNonce(nonce), again);
        } else {
          await session.exchange(call, [anybodyThere], readPresence, again);
        }
      });
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** @throws ERR_OPTION */
function check(option: string, value: unknown, isAccepted: boolean, accepted: string): void {
  if (!isAccepted) throw valueError(option, value, accepted);
}
