import type { WorkerFailure } from '../../events.js';
import { wordsOf } from '../../failures/failure.js';
import type { FailedRound } from '../../failures/policy.js';
import type { FailureReport } from '../rendezvous.js';

/** What a failure policy looks at. */
export function failedRoundOf({
  failures,
  isStuck: _,
  progress,
  ...failed
}: FailureReport): FailedRound {
  const [root] = failures;
  return {
    ...failed,
    exit: root?.exit ?? { how: 'unknown' },
    words: root === undefined ? '' : wordsOf(root),
    step: progress,
  };
}

/**
 * What of a report others get: an engine takes a megabyte at once, each agent reads it, and a text may be as long as
 * somebody's error file.
 */

const rootChars = 16_384;
const otherChars = 1_024;
/** Every node hears of every victim. */
const victimChars = 256;
const most = 32;

/** What of a victim's end others get: how it came about, and where. */
export function victimsForOthers(failures: readonly WorkerFailure[]): readonly WorkerFailure[] {
  return failures.slice(0, most).map(({ recorded: _, tail: __, ...failure }) => ({
    ...failure,
    message: cut(failure.message, victimChars),
    traceback: cut(failure.traceback, victimChars),
  }));
}

/** The root cause nearly whole, the others in brief. */
export function forOthers(report: FailureReport): FailureReport {
  const failures = report.failures.slice(0, most).map((failure, index) => brief(failure, index));
  return { ...report, failures };
}

function brief({ tail, ...failure }: WorkerFailure, index: number): WorkerFailure {
  const limit = index === 0 ? rootChars : otherChars;
  const { message, traceback, recorded } = failure;
  return {
    ...failure,
    message: cut(message, limit),
    traceback: cut(traceback, limit),
    ...(recorded === undefined ? {} : { recorded: cut(recorded, limit) }),
    ...(tail === undefined || index > 0 ? {} : { tail: cut(tail, rootChars) }),
  };
}

/** The start says what happened, and the end says where. */
function cut(text: string, chars: number): string {
  if (text.length <= chars) return text;
  const half = Math.floor(chars / 2);
  const [start, end] = [text.slice(0, half), text.slice(-half)];
  // No half of a character stays: an engine takes none.
  return `${start.replace(/[\uD800-\uDBFF]$/, '')}\n[…]\n${end.replace(/^[\uDC00-\uDFFF]/, '')}`;
}
