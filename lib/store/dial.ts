import { setTimeout as pause } from 'node:timers/promises';
import { type Connection, malformed, openConnection } from './connection.js';
import { type Dialect, type Request, readI64, readNonce, readPresence } from './wire.js';

export interface StoreAddress {
  readonly host: string;
  readonly port: number;
}

/** How to begin a connection. */
export interface Hello {
  readonly dialect: Dialect | 'auto';
  /** Whether dialect D may send PING. */
  readonly ping: boolean;
}

/** A connection that has been answered, and how it began. */
export interface Dialled {
  readonly connection: Connection;
  readonly hello: Hello & { readonly dialect: Dialect };
}

/** Back-off of torch's client. @source pytorch v2.13.0, torch/csrc/distributed/c10d/Backoff.hpp; the cap is ours */
const backOff = { firstMs: 500, factor: 1.5, jitter: 0.5, mostMs: 5_000 };

/**
 * How long a server that hung up on dialect D may take to answer dialect A. A libuv server swallows
 * what comes without a hello, and would have us wait for ever.
 */
const headerlessMs = 2_000;

/** A request that costs nothing and that every release answers: are all of no keys there? */
export const anybodyThere: Request = { op: 'check', keys: [] };

/**
 * Connects and is answered. Both are tried again as one until `signal` aborts: a server whose backlog
 * is full resets connections that it seemed to have accepted.
 *
 * @param onFailure hears why an attempt failed
 * @throws ConnectionLost once `signal` has aborted, or if somebody answers who isn't a store
 */
export async function dial(
  address: StoreAddress,
  hello: Hello,
  signal: AbortSignal,
  onFailure: (error: Error) => void,
): Promise<Dialled> {
  for (
    let pauseMs = backOff.firstMs;
    ;
    pauseMs = Math.min(pauseMs * backOff.factor, backOff.mostMs)
  ) {
    try {
      return await attempt(address, hello, signal);
    } catch (error) {
      // Who answers something else won't become a store.
      if (signal.aborted || malformed(error)) throw error;
      onFailure(error as Error); // all that a connection throws
    }
    const jitter = 1 + backOff.jitter * (2 * Math.random() - 1);
    await pause(pauseMs * jitter, undefined, { signal });
  }
}

async function attempt(
  address: StoreAddress,
  { dialect, ping }: Hello,
  signal: AbortSignal,
): Promise<Dialled> {
  if (dialect !== 'auto') return greet(address, { dialect, ping }, signal);

  const current = { dialect: 'D', ping } as const;
  try {
    return await greet(address, current, signal);
  } catch (error) {
    // A stock 1.13 server takes our hello for a SET with a key of at least 2⁶³ bytes.
    if (signal.aborted || malformed(error)) throw error;
    const bounded = (): AbortSignal => AbortSignal.any([signal, AbortSignal.timeout(headerlessMs)]);
    const limit = bounded();
    const headerless = await greet(address, { dialect: 'A', ping }, limit).catch(() => undefined);
    // 2.2 to 2.4 hang up on PING, and on what comes without a hello or never answer it.
    if (headerless === undefined)
      return await greet(address, { dialect: 'D', ping: false }, bounded()).catch(() =>
        Promise.reject(error),
      );
    // Ours speaks every dialect, and may have hung up for a reason of the moment: ask once more.
    return await greet(address, current, limit).then(
      dialled => {
        headerless.connection.close();
        return dialled;
      },
      () => headerless,
    );
  }
}

/** Once it has answered. Closes it if it doesn't. */
async function greet(
  address: StoreAddress,
  hello: Dialled['hello'],
  signal: AbortSignal,
): Promise<Dialled> {
  const connection = await openConnection(address, hello.dialect, signal);
  const abort = () => connection.close();
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    if (hello.dialect !== 'D') await connection.request([anybodyThere], readPresence());
    else if (hello.ping) await pinged(connection);
    else await counted(connection);
    return { connection, hello };
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

function pinged(connection: Connection): Promise<void> {
  // With its third byte above 0x7f a 1.13 server, which reads a length here, refuses it at once;
  // a smaller one it would try to allocate.
  const nonce = (Math.floor(Math.random() * 2 ** 31) | 0x80_00_00) >>> 0;
  return connection.request([{ op: 'validate' }, { op: 'ping', nonce }], readNonce(nonce));
}

/** Four of the shortest requests: to a server that reads a length there it's of more than 2⁵⁸ bytes, which nobody can allocate. */
async function counted(connection: Connection): Promise<void> {
  const numKeys = { op: 'numKeys' } as const;
  const first = connection.request([{ op: 'validate' }, numKeys], readI64());
  const others = [1, 2, 3].map(() => connection.request([numKeys], readI64()));
  await Promise.all([first, ...others]);
}
