import type { WorkerFailure } from '../events.js';
import { describeFailure, isFailed, type Remains, type SeenExit } from './failure.js';
import { type Clue, isOlder, recordedAtMs, rootCauseOf } from './root-cause.js';

/** The end of a worker group, as the agent saw it. Times are CLOCK_MONOTONIC in milliseconds. */
export interface GroupEnd {
  /** Ends in the order in which they were first heard of. */
  readonly exits: readonly SeenExit[];
  /** When our first signal went out that was to end the group; absent if none did. */
  readonly signaledAtMs?: number;
}

/**
 * Describes a group's failures, the root cause first: the one value that rules, hooks, events, the result, the error
 * file and the reports take theirs from. Plain JSON, so that it can be sent to other nodes. The others follow as they were
 * heard of, and those that ended during our stop by their local rank: the order in which they get round to it tells nothing.
 *
 * @param around.unixAheadMs Unix time minus CLOCK_MONOTONIC
 */
export function describeFailures(
  { exits, signaledAtMs }: GroupEnd,
  remainsOf: (localRank: number) => Remains | undefined,
  around: { readonly host: string; readonly unixAheadMs: number },
): WorkerFailure[] {
  const { host, unixAheadMs } = around;
  const signaledMs = signaledAtMs === undefined ? undefined : signaledAtMs + unixAheadMs;
  const clues = exits.filter(isFailed).map((exit): Clue & { failure: WorkerFailure } => {
    const remains = remainsOf(exit.worker.localRank) ?? nothing;
    const seenAtMs = exit.atMs + unixAheadMs;
    const recordedMs = recordedAtMs(remains.recorded);
    // It had failed before we sent anything; its interpreter was still on its way out.
    const cause =
      exit.cause === 'stopped-by-us' && isOlder(recordedMs, signaledMs) ? 'own' : exit.cause;
    const failure = describeFailure({ ...exit, cause }, remains, { host, seenAtUnixMs: seenAtMs });
    return {
      failure,
      cause,
      seenAtMs,
      isOutOfMemory: remains.outOfMemory !== undefined,
      ...(recordedMs === undefined ? {} : { recordedAtMs: recordedMs }),
    };
  });
  const root = rootCauseOf(inOrder(clues))?.failure;
  const others = inOrder(clues).filter(({ failure }) => failure !== root);
  return root === undefined ? [] : [root, ...others.map(({ failure }) => failure)];
}

const nothing: Remains = { recorded: { file: { kind: 'absent' } } };

function inOrder<C extends { readonly failure: WorkerFailure }>(clues: readonly C[]): C[] {
  const isLate = ({ failure }: C): boolean => failure.duringStop;
  return [
    ...clues.filter(clue => !isLate(clue)),
    ...clues.filter(isLate).sort((one, other) => one.failure.localRank - other.failure.localRank),
  ];
}
