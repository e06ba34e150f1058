import { type Coordination, CoordinationError, type Lease } from '../coordination/coordination.js';
import { isHopeless } from './table.js';

/** A node's lease, kept alive; when it can't be known to live, another one. */
export interface Membership {
  /** Absent: there's none at the moment. */
  lease(): Lease | undefined;
  /** The lease has ended, as somebody else learned. */
  lost(lease: Lease): void;
  /** Its server is another one, which knows nothing of it: it's kept as far as the fence allows, and another one had. */
  move(): void;
  /**
   * Nobody listens at the server's own address. Where a lease is kept, its keeper hears of that by itself; where another one
   * is had, or about to be, and nobody knows of this node yet, the fence moves on: whoever takes the server's place has
   * begun later, and takes nobody for lost before a lease's time is over.
   *
   * @param sinceMs when the attempt to connect began, by the clock of `bootMs`
   */
  refused(sinceMs: number): void;
  /** Whether another one is had, or about to be, that no fence may be moved for as long as others don't know of this node. */
  isMoving(): boolean;
  /** They do. */
  registered(): void;
  /** The fence has passed: all workers have been killed. @param atMs when, by CLOCK_MONOTONIC */
  fenced(atMs: number): void;
  /** No round follows, so that workers may take their time to end: no fence is set any more. The lease is kept. */
  unfence(): void;
  /** Ends it, and doesn't get another one. Resolves when the engine knows, or can't be told. */
  close(): Promise<void>;
}

export interface MembershipOptions {
  readonly coordination: Coordination;
  readonly leaseMs: number;
  /** For how long refusals move the fence on. @default 0, not at all: another server may be found elsewhere */
  readonly keptMs?: number;
  readonly around: {
    /** Workers may run until then, by the clock of `bootMs`; absent: as long as they like. */
    setFence(atMs: number | undefined): void;
    /** The same, where that's later than they may anyhow, and their time isn't over. */
    postponeFence(atMs: number): void;
    bootMs(): number;
    /**
     * Renews a lease and moves the fence by itself, whatever this thread does; absent: nobody does. It tells once what
     * has become of it.
     */
    keep?:
      | ((lease: Lease, marginMs: number, told: (what: KeeperEvent) => void) => Keeper)
      | undefined;
    leased(lease: Lease): void;
    /** Another server has taken the place of the one that has granted it; `leased` follows, or `lost`. */
    moved(): void;
    /** Nobody has taken that one's place in time. */
    gone(): void;
    /** It has ended, or its fence has passed. Whatever ran must be gone. @param atMs of the fence, if it's that */
    lost(atMs?: number): void;
    failed(error: unknown): void;
  };
}

/** The lease has ended or was given up, its server is another one, or nobody has taken that one's place in time. */
export type KeeperEvent = 'lost' | 'moved' | 'gone';

export interface Keeper {
  close(): void;
}

const pauseMs = 200;
/** Part of a lease's time by which workers are killed before others may take their place. */
const marginPart = 0.2;
/** Part of it that they run on for without a renewal. */
export const fencePart = 1 - marginPart;
const renewals = 5;

export function keepMembership(options: MembershipOptions): Membership {
  const { coordination, leaseMs, keptMs = 0, around } = options;
  let lease: Lease | undefined;
  let timer: NodeJS.Timeout | undefined;
  let keeper: Keeper | undefined;
  /** The fence is that of a lease at the server before. */
  let isMoving = false;
  /** The first attempt that was refused since then, however many servers have come and gone. */
  let refusedMs: number | undefined;
  let isGoneTold = false;
  /** When the lease was asked for. */
  let leasedMs = 0;
  /** Those that can't be known to live, and may. */
  const lapsed = new Set<Lease>();
  let isUnfenced = false;
  let isOver = false;
  let closing: Promise<void> | undefined;

  async function obtain(): Promise<void> {
    const askedMs = around.bootMs();
    try {
      const granted = await coordination.lease(leaseMs);
      if (isOver) {
        await granted.revoke();
        return;
      }
      lease = granted;
      leasedMs = askedMs;
      const isToRegister = isMoving;
      if (!isToRegister) confirmed(granted, askedMs);
      around.leased(granted);
      if (!isToRegister) keep(granted);
    } catch (error) {
      if (isOver) return;
      if (isHopeless(error)) around.failed(error);
      else timer = setTimeout(() => void obtain(), pauseMs);
    }
  }

  function keep(current: Lease): void {
    if (current !== lease) return;
    if (isUnfenced) {
      renewSoon(current);
      return;
    }
    keeper = around.keep?.(current, current.ttlMs * marginPart, what => {
      if (current !== lease) return;
      if (what === 'moved') move();
      else if (what === 'gone') around.gone();
      else lose(current);
    });
    if (keeper === undefined) renewSoon(current);
  }

  function move(): void {
    if (isOver) return;
    const had = lease;
    if (had !== undefined) {
      rest();
      lease = undefined;
      isMoving = true;
    }
    around.moved();
    if (had !== undefined) void obtain();
  }

  function refused(sinceMs: number): void {
    if (!isMoving || isOver || isUnfenced || keptMs === 0) return;
    refusedMs ??= sinceMs;
    if (sinceMs - refusedMs < keptMs) {
      around.postponeFence(sinceMs + leaseMs * fencePart);
    } else if (!isGoneTold) {
      isGoneTold = true;
      around.gone();
    }
  }

  function moveNoMore(): void {
    isMoving = false;
    refusedMs = undefined;
    isGoneTold = false;
  }

  function renewSoon(current: Lease, afterMs = current.ttlMs / renewals): void {
    timer = setTimeout(() => void renew(current), afterMs);
  }

  async function renew(current: Lease): Promise<void> {
    const askedMs = around.bootMs();
    try {
      await current.renew();
      if (current === lease) confirmed(current, askedMs);
    } catch (error) {
      if (current !== lease) return;
      if (error instanceof CoordinationError && error.code === 'LEASE_LOST') {
        lose(current);
        return;
      }
      // Any other failure says nothing of the lease: the fence does, and comes nearer.
      renewSoon(current, Math.min(pauseMs, current.ttlMs / renewals));
      return;
    }
    if (current === lease) renewSoon(current);
  }

  /** @param askedMs before the engine can have counted from */
  function confirmed(current: Lease, askedMs: number): void {
    if (!isUnfenced) around.setFence(askedMs + current.ttlMs * fencePart);
  }

  function lose(current: Lease | undefined, atMs?: number): void {
    if (current !== lease || isOver || (current === undefined && !isMoving)) return;
    moveNoMore();
    if (current === undefined) {
      around.lost(atMs); // and another one is asked for already
      return;
    }
    lease = undefined;
    lapsed.add(current);
    rest();
    // Nobody has answered for most of the lease's time.
    if (atMs !== undefined) coordination.reconnect?.();
    around.lost(atMs);
    void obtain();
  }

  function rest(): void {
    clearTimeout(timer);
    keeper?.close();
    keeper = undefined;
  }

  async function end(): Promise<void> {
    isOver = true;
    rest();
    const held = lease === undefined ? lapsed : lapsed.add(lease);
    lease = undefined;
    await Promise.all([...held].map(each => each.revoke().catch(() => {}))); // then it ends by itself
    around.setFence(undefined);
  }

  void obtain();
  return {
    lease: () => lease,
    lost: lose,
    move,
    refused,
    isMoving: () => isMoving,
    registered() {
      if (lease === undefined || !isMoving) return;
      moveNoMore();
      // The lease may have been asked for before the last refusal, and what that has moved the fence to holds.
      if (!isUnfenced) around.postponeFence(leasedMs + lease.ttlMs * fencePart);
      keep(lease);
    },
    fenced: atMs => lose(lease, atMs),
    unfence() {
      isUnfenced = true;
      if (keeper !== undefined) {
        rest();
        if (lease !== undefined) renewSoon(lease, 0); // the keeper moves the fence
      }
      around.setFence(undefined);
    },
    close() {
      closing ??= end();
      return closing;
    },
  };
}
