export interface NativeLeaseOptions {
  /** Numeric. */
  readonly host: string;
  readonly port: number;
  /** The lease's id. */
  readonly lease: string;
  /** Of the lease. It's renewed five times in this time, but for pauses of 10 ms at least. */
  readonly ttlMs: number;
  /** Below `ttlMs`: the fence passes so long before the lease can end, at the earliest. */
  readonly marginMs: number;
  /** Without a `beat` for so long nothing is renewed any more. */
  readonly stallMs: number;
  /**
   * Where nobody listens any more at the address that the server has told as its own, the fence moves on with each
   * refusal, for so long. @default 0, no further than renewals have moved it
   */
  readonly refusalsMs?: number;
  /** The job's, which both sides prove to have. @default none: neither does */
  readonly token?: string;
}

export type NativeLeaseEvent =
  /** The server knows of no such lease. */
  | { readonly event: 'lost' }
  /** There was no `beat` in time. */
  | { readonly event: 'stalled' }
  /** Another server has taken the place of the one that has granted it, before the fence has passed. */
  | { readonly event: 'moved' }
  /** Nobody has, for `refusalsMs`. */
  | { readonly event: 'gone' };

/** The thread that keeps a lease. */
export interface NativeLease {
  /** JS is well. */
  beat(): void;
  /** Where the fence is, by the clock of `boottimeMs`: `ttlMs` less `marginMs` behind the last confirmed renewal. Undefined before the first. */
  fenceMs(): number | undefined;
  /** Ends the thread, and leaves the lease the rest of its time; the fence stays where it is. Idempotent. */
  close(): void;
}
