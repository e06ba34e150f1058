import { echoMs } from '../../util/signals.js';

export interface NoticeSignal {
  readonly signal: NodeJS.Signals;
  /** Whether this one is the notice, and not more than that. */
  takes(signal: NodeJS.Signals, nowMs: number): boolean;
}

/**
 * The signal that is a notice of preemption. Where the same one also ends the job (Kubernetes has
 * only SIGTERM), its second coming does.
 */
export function noticeSignal(
  name: string | undefined,
  signalsToHandle: readonly NodeJS.Signals[],
): NoticeSignal | undefined {
  if (name === undefined) return undefined;
  const signal = name as NodeJS.Signals; // the option's rule has told that it can be caught
  let firstAtMs: number | undefined;
  return {
    signal,
    takes(got, nowMs) {
      if (got !== signal) return false;
      firstAtMs ??= nowMs;
      return !signalsToHandle.includes(signal) || nowMs - firstAtMs < echoMs;
    },
  };
}
