import {
  type Change,
  type Compare,
  type Coordination,
  CoordinationError,
  type Lease,
  type Revision,
} from '../coordination/coordination.js';
import type { Write } from './job/state.js';
import { isHopeless } from './table.js';

/** Makes the writes of one participant, whatever becomes of the answers. */
export interface Writer {
  write(write: Write): void;
  close(): void;
}

export interface WriterSurroundings {
  readonly coordination: Coordination;
  readonly prefix: string;
  lease(): Lease | undefined;
  /** The newest change that the participant has seen. */
  revision(): Revision;
  /** The lease has ended. */
  lost(lease: Lease): void;
  /** As `written` of a participant. */
  written(revision: Revision): void;
  failed(error: unknown): void;
}

/** Before a write is decided again whose outcome nobody knows. */
const retryMs = 100;

export function createWriter(around: WriterSurroundings): Writer {
  const { coordination, prefix } = around;
  let isOver = false;

  async function write({ compares, changes }: Write): Promise<void> {
    const lease = around.lease();
    const isLeased = changes.some(change => change.isLeased === true);
    if (isLeased && lease === undefined) return again();
    try {
      const { isDone, revision, entries } = await coordination.txn(
        compares.map((compare): Compare => ({ ...compare, key: prefix + compare.key })),
        changes.map(change => placed(change, lease)),
      );
      if (isOver) return;
      // Others were faster: it's decided again once that's seen. Keys that are gone tell nothing of when they went.
      const newest = Math.max(0, ...entries.map(({ modified }) => modified));
      if (isDone) around.written(revision);
      else if (newest > around.revision()) around.written(newest);
      else again();
    } catch (error) {
      if (isOver) return;
      if (isHopeless(error)) return around.failed(error);
      const isLost = error instanceof CoordinationError && error.code === 'LEASE_LOST';
      if (isLost && lease !== undefined) around.lost(lease);
      again();
    }
  }

  function placed(change: Write['changes'][number], lease: Lease | undefined): Change {
    if ('delete' in change) return { delete: prefix + change.delete };
    const { put, value, isLeased = false } = change;
    return { put: prefix + put, value, ...(isLeased && lease ? { lease } : {}) };
  }

  function again(): void {
    setTimeout(() => {
      if (!isOver) around.written(0);
    }, retryMs);
  }

  return {
    write: each => void write(each),
    close() {
      isOver = true;
    },
  };
}
