import type { FailReason, WorkerExit } from '../events.js';
import type { FailurePolicy, FailureRule } from '../options/failures.js';

/**
 * What follows from a failed round: another one, after which pause, or the end of the job and why.
 * Pure; `step` asks once for each round that a failure ended.
 */

/** What earlier rounds have spent and reached. */
export interface Ledger {
  /** Restarts that count. */
  readonly spent: number;
  /** CLOCK_MONOTONIC of them, those within the window. */
  readonly restartedAtMs: readonly number[];
  /** Failed rounds since the last progress. */
  readonly fruitless: number;
  /** The highest step that any worker has told. */
  readonly step: number;
}

export const emptyLedger: Ledger = { spent: 0, restartedAtMs: [], fruitless: 0, step: 0 };

export interface FailedRound {
  readonly round: number;
  /** The root cause's. */
  readonly exit: WorkerExit;
  /** What it left: the error file's message and its last lines. */
  readonly words: string;
  readonly ranMs: number;
  readonly atMs: number;
  /** The highest step that a worker of the round has told; 0 if none did. */
  readonly step: number;
  /** Number drawn by chance, at least 0 and below 1. */
  readonly chance: number;
}

export type Judgement =
  | {
      readonly do: 'restart';
      readonly ledger: Ledger;
      readonly delayMs: number;
      readonly rule?: string;
      /** What the window still allows at this moment. */
      readonly windowLeft?: number;
    }
  | { readonly do: 'fail'; readonly because: FailReason; readonly rule?: string };

export function judge(policy: FailurePolicy, before: Ledger, failed: FailedRound): Judgement {
  const rule = policy.rules.find(each => applies(each, failed));
  const by = rule === undefined ? {} : { rule: rule.text };
  if (rule?.action === 'fail') return { do: 'fail', because: 'rule', ...by };
  if (rule?.action === 'fail-without-requeue') return { do: 'fail', because: 'no-requeue', ...by };

  const progressed =
    failed.step > before.step ||
    (policy.healthyMs !== undefined && failed.ranMs >= policy.healthyMs);
  const ledger: Ledger = {
    spent: progressed && policy.resetOnProgress ? 0 : before.spent,
    restartedAtMs: before.restartedAtMs.filter(
      atMs => policy.window !== undefined && failed.atMs - atMs < policy.window.perMs,
    ),
    fruitless: progressed ? 0 : before.fruitless + 1,
    step: Math.max(before.step, failed.step),
  };
  const { failFastMs, noProgressRounds, window } = policy;
  if (rule === undefined && failed.round === 0 && !progressed && failed.ranMs < (failFastMs ?? 0))
    return { do: 'fail', because: 'first-round' };
  if (noProgressRounds !== undefined && ledger.fruitless >= noProgressRounds)
    return { do: 'fail', because: 'no-progress' };

  const delayMs = delayOf(policy, ledger.fruitless, failed.chance);
  const windowLeft = ({ restartedAtMs }: Ledger): { windowLeft?: number } =>
    window === undefined ? {} : { windowLeft: Math.max(0, window.restarts - restartedAtMs.length) };
  if (rule?.action === 'restart-free')
    return { do: 'restart', ledger, delayMs, ...by, ...windowLeft(ledger) };
  if (ledger.spent >= policy.maxRestarts) {
    return { do: 'fail', because: 'no-restarts-left', ...by };
  }
  if (window !== undefined && ledger.restartedAtMs.length >= window.restarts)
    return { do: 'fail', because: 'too-many-at-once', ...by };
  const after: Ledger = {
    ...ledger,
    spent: ledger.spent + 1,
    restartedAtMs:
      window === undefined ? ledger.restartedAtMs : [...ledger.restartedAtMs, failed.atMs],
  };
  return { do: 'restart', ledger: after, delayMs, ...by, ...windowLeft(after) };
}

/** Whether a restart is at all likely, so that it's worth preparing while workers are stopped. */
export function mayRestart(policy: FailurePolicy, { spent }: Ledger): boolean {
  return spent < policy.maxRestarts;
}

function applies(rule: FailureRule, { exit, words }: FailedRound): boolean {
  if (rule.exitCodes !== undefined || rule.signals !== undefined) {
    const fits =
      (exit.how === 'exited' &&
        rule.exitCodes?.some(([from, to]) => from <= exit.code && exit.code <= to)) ||
      (exit.how === 'signaled' && rule.signals?.includes(exit.signalNumber));
    if (!fits) return false;
  }
  return rule.pattern === undefined || rule.pattern.test(words);
}

/** Between half of it and the whole: nodes that failed together don't come back together. */
function delayOf({ backOff }: FailurePolicy, fruitless: number, chance: number): number {
  if (backOff === undefined) return 0;
  const whole = Math.min(
    backOff.maxMs,
    backOff.firstMs * 2 ** Math.max(0, Math.min(fruitless - 1, 30)),
  );
  return whole * (0.5 + chance / 2);
}
