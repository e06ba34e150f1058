import { type Coordination, CoordinationError, type Lease } from '../coordination/coordination.js';
import { isHopeless } from './table.js';

/** A node's lease, kept alive; when it can't be known to live, another one. */
export interface Membership {
  /** Absent: there's none at the moment. */
  lease(): Lease | undefined;
  /** The lease has ended, as somebody else learned. */
  lost(lease: Lease): void;
  /** Ends it, and doesn't get another one. Resolves when the engine knows, or can't be told. */
  close(): Promise<void>;
}

export interface MembershipOptions {
  readonly coordination: Coordination;
  readonly leaseMs: number;
  readonly around: {
    /** Workers may run until then, by CLOCK_BOOTTIME; absent: as long as they like. */
    setFence(atMs: number | undefined): void;
    bootMs(): number;
    leased(lease: Lease): void;
    /** It has ended, or its fence has passed. Whatever ran must be gone. */
    lost(): void;
    failed(error: unknown): void;
  };
}

const pauseMs = 200;

/** Part of a lease's time by which workers are killed before others may take their place. */
const marginPart = 0.2;

export function keepMembership({ coordination, leaseMs, around }: MembershipOptions): Membership {
  let lease: Lease | undefined;
  let renewal: NodeJS.Timeout | undefined;
  let fence: NodeJS.Timeout | undefined;
  let isOver = false;

  async function obtain(): Promise<void> {
    const askedMs = around.bootMs();
    try {
      const granted = await coordination.lease(leaseMs);
      if (isOver) {
        await granted.revoke();
        return;
      }
      lease = granted;
      confirmed(granted, askedMs);
      around.leased(granted);
      renewSoon(granted);
    } catch (error) {
      if (isOver) return;
      if (isHopeless(error)) around.failed(error);
      else renewal = setTimeout(() => void obtain(), pauseMs);
    }
  }

  function renewSoon(current: Lease): void {
    renewal = setTimeout(() => void renew(current), current.ttlMs / 5);
  }

  async function renew(current: Lease): Promise<void> {
    const askedMs = around.bootMs();
    try {
      await current.renew();
      if (current !== lease) return;
      confirmed(current, askedMs);
    } catch (error) {
      if (current !== lease) return;
      if (error instanceof CoordinationError && error.code === 'LEASE_LOST') {
        lose(current);
        return;
      }
      // Any other failure says nothing of the lease: the fence does.
    }
    renewSoon(current);
  }

  /** @param askedMs before the engine can have counted from */
  function confirmed(current: Lease, askedMs: number): void {
    const atMs = askedMs + current.ttlMs * (1 - marginPart);
    around.setFence(atMs);
    clearTimeout(fence);
    fence = setTimeout(() => lose(current), atMs - around.bootMs());
  }

  function lose(current: Lease): void {
    if (current !== lease || isOver) return;
    lease = undefined;
    clearTimeout(renewal);
    clearTimeout(fence);
    around.lost();
    void obtain();
  }

  void obtain();
  return {
    lease: () => lease,
    lost: lose,
    async close() {
      if (isOver) return;
      isOver = true;
      clearTimeout(renewal);
      clearTimeout(fence);
      const last = lease;
      lease = undefined;
      await last?.revoke().catch(() => {}); // then it ends by itself
      around.setFence(undefined);
    },
  };
}
