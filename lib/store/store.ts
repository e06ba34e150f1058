import type { CallOptions } from './call.js';
import type { Dialect } from './wire.js';

export type { CallOptions } from './call.js';

/** What's stored: any bytes. A text is stored as UTF-8. */
export type StoreValue = string | Uint8Array;

/**
 * A key-value store that PyTorch's workers and stores share: `client.get('k')` reads what
 * `TCPStore.set('k', …)` wrote. Keys are texts, values come as Buffers.
 *
 * Every method takes {@link CallOptions}: a signal, and a deadline from the call on. A call that's
 * given up leaves the connection in step; what it was to change may still be changed.
 *
 * Changes resolve once the server has applied them. The protocol itself doesn't confirm SET, APPEND,
 * MULTI_SET and QUEUE_PUSH, so a question about nothing goes behind each of them.
 *
 * Once 16 MiB wait to be sent, calls wait their turn; a deadline or a signal takes them out of it.
 *
 * **When the connection breaks** it's dialled again, for whichever call needs it next:
 * - `get`, `multiGet`, `check`, `wait`, `numKeys`, `listKeys` and `queueLen` change nothing. They're
 *   sent again, at most three times, until their deadline.
 * - All others are sent once. If the answer doesn't come, their outcome is unknown: another client
 *   may have seen or replaced the change meanwhile. They reject with ERR_STORE_OUTCOME_UNKNOWN.
 *   What wasn't sent yet waits for the next connection instead.
 * - A new server at the same address has an empty table. Nothing here can tell it from the old one.
 *
 * Errors, all of them {@link RegroupError}:
 * - ERR_STORE_TIMEOUT: the deadline of a wait, or of a call that changes nothing
 * - ERR_STORE_CONNECT: the deadline, and there was no connection
 * - ERR_STORE_LOST: the server hung up three times; it does so for keys or values above its limits
 * - ERR_STORE_OUTCOME_UNKNOWN: see above; also if the deadline ended before the confirmation
 * - ERR_STORE_PROTOCOL: whoever is there doesn't answer as a store does
 * - ERR_STORE_UNSUPPORTED: the server's release has no such operation
 * - ERR_STORE_CLOSED: the client was closed
 * - ERR_OPTION: an argument that isn't acceptable
 *
 * A signal that ends a call rejects it with the signal's reason.
 *
 * @source pytorch v2.13.0, torch/csrc/distributed/c10d/TCPStore.cpp
 */
export interface Store {
  set(key: string, value: StoreValue, options?: CallOptions): Promise<void>;
  /** Waits until the key exists. */
  get(key: string, options?: CallOptions): Promise<Buffer>;
  /**
   * Adds to a number that's stored as decimal text; a missing key counts as 0.
   *
   * @returns the sum, which wraps at 2⁶³
   * @throws ERR_STORE_OUTCOME_UNKNOWN also if the key's value isn't a number: servers hang up then
   */
  add(key: string, delta: number | bigint, options?: CallOptions): Promise<bigint>;
  /**
   * Stores `desired` if the value is `expected`; a missing key has the empty value.
   *
   * @returns the value that's there now; `expected` if the key is missing and that isn't empty
   */
  compareSet(
    key: string,
    expected: StoreValue,
    desired: StoreValue,
    options?: CallOptions,
  ): Promise<Buffer>;
  /** Waits until all of them exist. */
  wait(keys: string | readonly string[], options?: CallOptions): Promise<void>;
  /** Whether all of them exist. */
  check(keys: string | readonly string[], options?: CallOptions): Promise<boolean>;
  /** Deletes a key, and tells whether it existed. */
  deleteKey(key: string, options?: CallOptions): Promise<boolean>;
  /** Counts the keys of the whole server, whatever the prefix; queues don't count. */
  numKeys(options?: CallOptions): Promise<number>;
  /** Creates a missing key. Since 2.1. */
  append(key: string, value: StoreValue, options?: CallOptions): Promise<void>;
  /** Waits until all of them exist. Since 2.1. */
  multiGet(keys: readonly string[], options?: CallOptions): Promise<Buffer[]>;
  /** Stores pairs in order; a stock server's other clients may see a part of it. Since 2.1. */
  multiSet(pairs: Iterable<readonly [string, StoreValue]>, options?: CallOptions): Promise<void>;
  /** Since 2.8. Stock servers without libuv have no queues, and hang up. */
  queuePush(key: string, value: StoreValue, options?: CallOptions): Promise<void>;
  /**
   * Takes the oldest value, and waits for one unless `block` is false: an empty queue gives undefined
   * then. Since 2.8.
   */
  queuePop(
    key: string,
    options: CallOptions & { readonly block: false },
  ): Promise<Buffer | undefined>;
  queuePop(key: string, options?: CallOptions & { readonly block?: true }): Promise<Buffer>;
  /** Since 2.8. */
  queueLen(key: string, options?: CallOptions): Promise<number>;
  /** Lists keys without the prefix, in no order. Since 2.10. */
  listKeys(options?: CallOptions): Promise<string[]>;
  /**
   * Waits until `worldSize` callers have come. A key is good for one barrier: it lets everybody pass
   * afterwards. Who times out stays counted. Since 2.12.
   *
   * Under a prefix it's made of `add`, `set` and `wait`, as PrefixStore does, and works with every release.
   */
  barrier(key: string, worldSize: number, options?: CallOptions): Promise<void>;
  /**
   * The same store with `prefix/` before each key, as PrefixStore: `store.prefix('a').prefix('b')`
   * keeps `k` under `a/b/k`.
   */
  prefix(prefix: string): Store;
}

/** A {@link Store} over TCP. An open client that waits for nothing doesn't keep Node alive. */
export interface StoreClient extends Store, AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** What the server speaks: A is PyTorch 1.13 and 2.0, B is 2.1, D is 2.2 and later. */
  readonly dialect: Dialect;
  /** Asks the server for a sign of life. */
  ping(options?: CallOptions): Promise<void>;
  /** Ends all calls with ERR_STORE_CLOSED, and resolves when the sockets are closed. Idempotent. */
  close(): Promise<void>;
}
