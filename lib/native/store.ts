export interface NativeStoreAddress {
  readonly table: number;
  readonly port: number;
  /** The address of a socket that was bound already; absent: that, or those, that were named. */
  readonly host?: string;
  /** `@…`, the Unix socket that gives shared memory; absent if none is offered. */
  readonly local?: string;
}

export interface NativeTableOptions {
  readonly port: number;
  readonly coordination?: boolean;
  readonly token?: string;
  readonly exclusive?: boolean;
}

/** What a worker told by its slot of shared memory. Only `pid` is checked by anybody. */
export interface NativeStoreSlot {
  /** The worker's when it connected. */
  readonly pid: number;
  readonly rank: number;
  /** How often it told. */
  readonly beats: number;
  /** CLOCK_MONOTONIC of the last time. */
  readonly beatAtMs: number;
  readonly step: number;
  readonly phase: number;
}

/** One table's counters. */
export interface NativeStoreStats {
  /** Connections, now. */
  readonly clients: number;
  /** Those of them at shared memory. */
  readonly lanes: number;
  readonly keys: number;
  /** Clients whose WAIT or BARRIER isn't answered yet. */
  readonly waiters: number;
  /** Keys, values, queues and waiters, as the table's limit counts them. */
  readonly bytes: number;
  /** Connections, ever. */
  readonly accepted: number;
  /** Connections closed at once: no descriptor or lane was left, or shared memory of another user. */
  readonly refused: number;
  /** Connections closed for what they sent or left unread. */
  readonly faults: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** The highest step that any slot has told, also of clients that are gone; 0 if none did. */
  readonly highestStep: number;
  /** How often each was applied; without those that never were. */
  readonly operations: Readonly<Record<string, number>>;
  /** Connections by the numbering of operations that they speak: `A` (1.13, 2.0), `B` (2.1), `D` (2.2 and later). */
  readonly dialects: Readonly<Record<string, number>>;
  /**
   * As on the wire, up to 16, the most asked for first, whatever the operation; of operations with several keys the first one counts.
   * `requests` is an estimate from a sample, and rather too low.
   */
  readonly hotKeys: readonly { readonly key: string; readonly requests: number }[];
  /** Parsing, applying, and sending to whom it released. Absent before the first operation. */
  readonly slowest?: { readonly operation: string; readonly ns: number };
}

/**
 * The store thread. It serves TCPStore's protocol; each table has a port of its own. No call waits for
 * what it's busy with: they read what it has published, or leave it something to do. `openTable`, `borrowPort`,
 * `resetTable` and `close` wait until that's done, but for no more than a second.
 */
export interface NativeStore {
  /**
   * Binds and listens at once, so that a port is never picked and then lost.
   *
   * @param hosts numeric addresses, all of them on the same port. One that this machine doesn't have is left out,
   *   unless it's the first. None: the table is at shared memory only
   * @param fd instead: a bound socket that somebody else has made; it's duplicated
   * @param port 0: the kernel chooses; with `fd`, any
   * @param coordination whether the port serves coordination, too. Emptied, the table is another server to its
   *   clients. @default false
   * @param token which clients of coordination must prove to have. @default none: they needn't
   * @param exclusive with coordination: whether the port serves nobody else, and closes who says nothing for 10 s.
   *   @default false
   * @throws with `code` (EADDRINUSE…) and `syscall`
   */
  openTable(
    options: NativeTableOptions & ({ readonly hosts: readonly string[] } | { readonly fd: number }),
  ): NativeStoreAddress;
  /**
   * Opens a table at the port of another one, until either is closed or the next one borrows it: TCPStore's clients that
   * connect from now on are its own. Coordination stays with the lender. A client of TCPStore that has connected before
   * and is in no table yet is closed, and so are all once nobody borrows the port any more.
   *
   * @throws with `code` (EBADF: there's no such table) and `syscall`
   */
  borrowPort(lender: number): NativeStoreAddress;
  /** Empties the table and drops its connections; the port stays. */
  resetTable(table: number): void;
  /** Drops the table, its connections and its port, soon. Unknown tables: nothing. */
  closeTable(table: number): void;
  /** Unknown tables: zeros. */
  stats(table: number): NativeStoreStats;
  /** Of the clients at shared memory that have told something. Unknown tables: none. */
  slots(table: number): readonly NativeStoreSlot[];
  /** The word that every client at shared memory sees, soon; below 2³². A reset sets it to 0. */
  setNotice(table: number, notice: number): void;
  /**
   * Looks out, for ten minutes, for those of these processes that keep connecting to an address of this machine
   * where nobody listens, and reports them. Where the kernel doesn't tell of refused connections
   * there are no reports. None: nobody.
   */
  watchRefusals(pids: readonly number[]): void;
  /** Ends the thread. Returns when the ports are free. Idempotent. */
  close(): void;
}

export interface NativeStoreOptions {
  readonly disable: readonly string[];
  readonly sharedMemory: boolean;
  /** Descriptors of this process that no client gets; half of its limit at most. */
  readonly keptDescriptors: number;
}

/** What the store's thread says unasked. */
export type NativeStoreReport =
  /** About a client that's closed or refused; ten a second at most. */
  | { readonly report: 'line'; readonly line: string }
  /** A process of `watchRefusals`, or one that it has started, is refused there again and again. */
  | { readonly report: 'refused'; readonly pid: number; readonly address: string }
  /** The first request to a table that isn't a client's greeting; once, and once more after each reset. */
  | { readonly report: 'used'; readonly table: number; readonly atMs: number };
