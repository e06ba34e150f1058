import { RegroupError } from '../../errors.js';
import type { RunResult } from '../../events.js';
import { exitCodes } from '../../exit-codes.js';
import { unreachable } from '../../util/unreachable.js';
import type { CliSettings } from '../line/settings.js';

/** Endings that torchrun doesn't know. */
const ownCodes: Readonly<Record<string, number | undefined>> = {
  'no-requeue': exitCodes.noRequeue,
  'first-round': exitCodes.noProgress,
  'no-progress': exitCodes.noProgress,
  'node-unfit': exitCodes.nodeUnfit,
};

/** The command's, by torchrun's convention or the root cause's own. */
export function exitCodeOf(result: RunResult, convention: CliSettings['exitCode']): number {
  if (result.outcome === 'succeeded') return exitCodes.succeeded;
  if (result.outcome === 'failed') {
    const own = ownCodes[result.because];
    if (own !== undefined) return own;
  }
  if (result.outcome !== 'failed' && result.nodeUnfit) return exitCodes.nodeUnfit;
  if (result.outcome === 'preempted') return exitCodes.preempted;
  if (result.outcome === 'stopped' || convention === 'torchrun') return exitCodes.failed;

  const { exit } = result.rootCause;
  switch (exit.how) {
    case 'exited':
      return exit.code;
    case 'signaled':
      return 128 + exit.signalNumber;
    case 'unknown':
      return 1;
    default:
      return unreachable(exit);
  }
}

/** Whether an error is a fault of the program, and not of what it was given or found. */
export function isOurMistake(error: unknown): boolean {
  return !(error instanceof RegroupError) || error.code === 'ERR_INTERNAL';
}

export function codeOfError(error: unknown): number {
  if (isOurMistake(error)) return exitCodes.internal;
  const isStuck = error instanceof RegroupError && error.code === 'ERR_START_HANGS';
  return isStuck ? exitCodes.nodeUnfit : exitCodes.failed;
}
