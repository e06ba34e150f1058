/**
 * What the agents of a job share: a small table of keys whose every change has a number, leases that keys are bound to,
 * and watches that miss nothing. These are the primitives of etcd v3 and no more, so that one rendezvous runs on our own
 * server and on etcd alike. Keys and values are any texts without lone surrogates, and keys aren't empty: others are
 * `INVALID`.
 *
 * @source etcd 3.6, Documentation/learning/api.md
 */
export interface Coordination {
  /** The keys that begin with the prefix, all of one moment. */
  get(prefix: string): Promise<Snapshot>;
  /** Sets one key, whatever it was. @returns the change's revision */
  put(key: string, value: string, lease?: Lease): Promise<Revision>;
  /**
   * Makes the changes if all the comparisons hold, all in one revision; else none of them.
   *
   * @param changes of different keys, else `INVALID`; of these and of comparisons an engine need take no more than 128
   */
  txn(compares: readonly Compare[], changes: readonly Change[]): Promise<TxnResult>;
  /**
   * A lease that lives for at least `ttlMs` from each renewal on, by the clock of the engine, which nobody can set back.
   * It lives longer where the engine restarts or changes its own leader, which may begin its time anew. When it ends,
   * the keys that are bound to it are deleted in one revision.
   *
   * @param ttlMs the engine may make it longer: see Lease
   */
  lease(ttlMs: number): Promise<Lease>;
  /**
   * Tells of every change to the keys that begin with the prefix, from a revision on: in order, none twice, none left
   * out, whatever connections or servers are lost meanwhile.
   *
   * @param from the first revision to tell of: that of a snapshot, plus 1
   * @throws INVALID, CLOSED
   */
  watch(prefix: string, from: Revision, listener: WatchListener): Watch;
  /**
   * Calls whenever another server has taken the place of the one before, before anything else of it is told: its table
   * and its leases are gone. Not called where the one before may live: its leases are lost then. Absent: a table outlives
   * its servers.
   */
  onMoved?(listener: () => void): void;
  /** Names the table that was read last: another one's may be empty. Absent: there's one for good. */
  table?(): string;
  /**
   * Calls when nobody listens any more at the address that the server has told as its own, which says that its process has
   * ended, and when a server is there again. Absent: it isn't known.
   */
  onReached?(listener: (isThere: boolean) => void): void;
  /**
   * Calls at each attempt that says that nobody listens there, from the first one that `onReached` tells of on.
   *
   * @param listener hears when the attempt began, by the clock that the engine was given
   */
  onRefused?(listener: (sinceMs: number) => void): void;
  /**
   * Gives up the connection for another one, as if it had broken: it may be dead without a word, and what is under way on
   * it may come at any time, even from a server that has ended. Absent: each call has its own.
   */
  reconnect?(): void;
  /**
   * Ends all watches, without a word, and all calls under way and to come, with `CLOSED`. Leases live on until their
   * time is over. Idempotent.
   */
  close(): Promise<void>;
}

/** Numbers a change of the whole table, from 1 on. All changes of a transaction have the same. */
export type Revision = number;

export interface Entry {
  readonly key: string;
  readonly value: string;
  /** Of the change that made the key. */
  readonly created: Revision;
  /** Of the last change. */
  readonly modified: Revision;
  /** The id of the lease that it's bound to. */
  readonly lease?: string;
}

export interface Snapshot {
  /** The newest of the table, whatever its key. */
  readonly revision: Revision;
  /** In the order of their keys' bytes. */
  readonly entries: readonly Entry[];
}

/** What must hold of a key: that there's none, that it hasn't changed since, or what it holds. */
export type Compare =
  | { readonly key: string; readonly is: 'absent' }
  | { readonly key: string; readonly modified: Revision }
  | { readonly key: string; readonly value: string };

export type Change =
  | { readonly put: string; readonly value: string; readonly lease?: Lease }
  | { readonly delete: string };

export interface TxnResult {
  readonly isDone: boolean;
  /** That of the changes, if they were made; else the newest. */
  readonly revision: Revision;
  /** Where they weren't: the compared keys that there are, each once, as they were then. */
  readonly entries: readonly Entry[];
}

export interface Lease {
  readonly id: string;
  /** What the engine has granted: at least what was asked for. */
  readonly ttlMs: number;
  /**
   * Has it live for another `ttlMs`, from some moment between the call and its answer.
   *
   * @throws LEASE_LOST once it has ended, and then always
   */
  renew(): Promise<void>;
  /** Ends it now, with its keys. One that has ended already is ended. */
  revoke(): Promise<void>;
}

export type WatchEvent =
  | { readonly type: 'put'; readonly entry: Entry }
  | { readonly type: 'delete'; readonly key: string; readonly modified: Revision };

export interface WatchListener {
  /** The changes of one revision, or of several; a revision is never divided. */
  changed(events: readonly WatchEvent[]): void;
  /**
   * The watch has ended by itself: with `COMPACTED` where the engine no longer has what came after the last change that
   * was told, and a new snapshot is needed; with `DENIED`, `PROTOCOL` or `VERSION` where trying again is in vain.
   */
  ended(error: CoordinationError): void;
}

export interface Watch {
  /** Nothing is told any more, from this call on. */
  close(): void;
}

export type CoordinationCode =
  /** Nobody could be reached, or who was reached couldn't answer. */
  | 'UNAVAILABLE'
  /** No answer in time. */
  | 'TIMEOUT'
  /** The lease has ended, or never was. */
  | 'LEASE_LOST'
  /** The changes from that revision on aren't kept any more. */
  | 'COMPACTED'
  /** Credentials are missing, wrong, or don't suffice. */
  | 'DENIED'
  /** The engine has no more room. */
  | 'FULL'
  /** A request that the engine doesn't take: too large, say. */
  | 'INVALID'
  /** What answered doesn't speak the protocol. */
  | 'PROTOCOL'
  /** What answered speaks another version of it. */
  | 'VERSION'
  /** close() was called. */
  | 'CLOSED';

export class CoordinationError extends Error {
  override readonly name = 'CoordinationError';
  readonly code: CoordinationCode;
  /** The change that was asked for may have been made all the same. */
  readonly isUncertain: boolean;
  /** It has been so for long: trying again is in vain. */
  readonly isLasting: boolean;

  constructor(
    code: CoordinationCode,
    message: string,
    options: {
      readonly cause?: unknown;
      readonly isUncertain?: boolean;
      readonly isLasting?: boolean;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.isUncertain = options.isUncertain ?? false;
    this.isLasting = options.isLasting ?? false;
  }
}
