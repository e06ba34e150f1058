import type { WorkerFailure } from '../events.js';
import type { ErrorFileRead } from './error-file.js';

/** Which of a group's failures came first; pure. */

/** What tells it. Times are Unix time in milliseconds. */
export interface Clue {
  readonly cause: WorkerFailure['cause'];
  readonly isOutOfMemory: boolean;
  /** When its end was first heard of. */
  readonly seenAtMs: number;
  /** When it wrote its error file; absent where it wrote none. */
  readonly recordedAtMs?: number;
}

/**
 * A process without an error file counts from its end, which comes later than the mistake that led to it, and
 * later still where a memory of many gigabytes is freed. One with an error file has to be so much earlier to come first.
 */
const unrecordedMs = 1000;

/**
 * What the kernel's clock for files may be behind: a tick of 10 ms where HZ is 100.
 *
 * @source Linux 6.18, fs/inode.c, current_time
 */
const tickMs = 20;

/**
 * The first one, of failures in the order in which they were heard of.
 *
 * A hang that made us stop beats all, for nothing had failed by then, and the kernel's lack of memory beats what it
 * made others do. A worker's own end beats a signal that we sent. Among equals it's the first that was heard of,
 * unless another had written its error file before: before the first one's, where that has one, and else a second or more
 * before the first one's end.
 */
export function rootCauseOf<C extends Clue>(failures: readonly C[]): C | undefined {
  const hung = failures.find(({ cause }) => cause === 'hang');
  if (hung !== undefined) return hung;
  // Its peers' broken connections may be noticed in the same moment.
  const starved = failures.find(({ isOutOfMemory }) => isOutOfMemory);
  if (starved !== undefined) return starved;

  const own = failures.filter(({ cause }) => cause === 'own');
  const candidates = own.length > 0 ? own : failures;
  const [first] = candidates;
  if (first === undefined) return undefined;
  let earliest = first;
  let beforeMs = first.recordedAtMs ?? first.seenAtMs - unrecordedMs;
  for (const candidate of candidates) {
    const { recordedAtMs } = candidate;
    if (recordedAtMs === undefined || recordedAtMs >= beforeMs) continue;
    earliest = candidate;
    beforeMs = recordedAtMs;
  }
  return earliest;
}

/**
 * When an error file was written. The second is the worker's own word, as in torchrun. Only the file system knows the
 * fraction, and its clock may be another machine's: where the two don't agree it's the second's end.
 */
export function recordedAtMs({ file, writtenAtMs }: ErrorFileRead): number | undefined {
  if (file.kind !== 'read' || writtenAtMs === undefined) return undefined;
  if (file.timestamp === undefined) return writtenAtMs;

  const secondMs = file.timestamp * 1000;
  const isInSecond = writtenAtMs >= secondMs && writtenAtMs < secondMs + 1000;
  return isInSecond ? writtenAtMs : secondMs + 999;
}

/** Whether an error file is older than our first signal, so that it tells of no echo. */
export function isOlder(recordedMs: number | undefined, signaledMs: number | undefined): boolean {
  return recordedMs !== undefined && signaledMs !== undefined && recordedMs + tickMs <= signaledMs;
}
