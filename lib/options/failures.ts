import { signalNumber } from '../util/signals.js';
import { type Check, flag, isList, isRecord, isText, isWhole, milliseconds } from './checks.js';

/** `restart-free` spends nothing; `fail-without-requeue` asks the scheduler not to try again. */
export type RuleAction = 'restart' | 'restart-free' | 'fail' | 'fail-without-requeue';

/** Applies if all that it names fits the root cause. The first rule that applies decides. */
export interface FailureRule {
  /** Exit codes, from and to. */
  readonly exitCodes?: readonly (readonly [from: number, to: number])[];
  /** Numbers of signals. */
  readonly signals?: readonly number[];
  /** Matched against the message of the error file and the last lines of stderr. */
  readonly pattern?: RegExp;
  readonly action: RuleAction;
  /** The rule as the user wrote it, for the report. */
  readonly text: string;
}

export interface FailurePolicy {
  readonly maxRestarts: number;
  readonly rules: readonly FailureRule[];
  /** Limit of restarts within any such time. @default no such limit */
  readonly window?: { readonly restarts: number; readonly perMs: number };
  /** Pause before a restart; doubles with each in a row without progress. @default no pause */
  readonly backOff?: { readonly firstMs: number; readonly maxMs: number };
  /** A first round that fails within this time ends the job. @default none */
  readonly failFastMs?: number;
  /** So many failed rounds in a row without progress end the job. @default none */
  readonly noProgressRounds?: number;
  /** Whether progress gives all restarts back. */
  readonly resetOnProgress: boolean;
  /** A round that ran so long has made progress, whatever its workers told. @default steps only */
  readonly healthyMs?: number;
}

/** Applies if all that it names fits the root cause of a failed round. */
export interface FailureRuleOption {
  /** Exit codes: numbers, or pairs from and to. */
  readonly exitCodes?: readonly (number | readonly [from: number, to: number])[];
  /** Names, like SIGSEGV. */
  readonly signals?: readonly string[];
  /** A regular expression for the error file's message and the last lines of stderr, where that's captured. */
  readonly pattern?: string;
  /** `restart-free` spends no restart; `fail-without-requeue` is `fail` with an exit code of its own. */
  readonly action: RuleAction;
}

/** When a failed round is followed by another. */
export interface FailureOptions {
  /** The first one that applies decides; without any, `maxRestarts` and what's below. @default [] */
  readonly failureRules?: readonly FailureRuleOption[];
  /**
   * At most so many restarts within any such time. With `maxRestarts` 0 it's the only limit.
   * @default none
   */
  readonly restartWindow?: { readonly restarts: number; readonly perMs: number };
  /**
   * A pause before a restart: `firstMs`, doubled with each failure in a row without progress, up to
   * `maxMs`; between half of it and the whole, by chance. @default none
   */
  readonly backOff?: { readonly firstMs: number; readonly maxMs: number };
  /** A first round that fails within this time ends the job: it's no bad luck. @default 0: none */
  readonly failFastMs?: number;
  /** So many failed rounds in a row without progress end the job. @default 0: none */
  readonly noProgressRounds?: number;
  /** Whether progress gives all restarts back. Workers tell steps by their slot, see docs/shared-memory.md. @default false */
  readonly resetOnProgress?: boolean;
  /** A round that ran so long before it failed has made progress, whatever steps were told. @default 0: only steps tell */
  readonly healthyAfterMs?: number;
}

export const failureDefaults = {
  failureRules: [],
  failFastMs: 0,
  noProgressRounds: 0,
  resetOnProgress: false,
  healthyAfterMs: 0,
} as const satisfies FailureOptions;

export const ruleActions: readonly RuleAction[] = [
  'restart',
  'restart-free',
  'fail',
  'fail-without-requeue',
];

export const failureChecks: Readonly<Record<keyof FailureOptions, Check>> = {
  failureRules: [
    value => isList(value) && value.every(isRule),
    `a list of { exitCodes?, signals?, pattern?, action: ${ruleActions.map(action => `'${action}'`).join(' | ')} }`,
  ],
  restartWindow: [
    value => isRecord(value) && isWhole(value.restarts, 1) && milliseconds[0](value.perMs),
    '{ restarts, perMs }',
  ],
  backOff: [
    value =>
      isRecord(value) &&
      milliseconds[0](value.firstMs) &&
      milliseconds[0](value.maxMs) &&
      Number(value.firstMs) <= Number(value.maxMs),
    '{ firstMs, maxMs }, the first not above the last',
  ],
  failFastMs: milliseconds,
  noProgressRounds: [value => isWhole(value, 0), 'a whole number from 0'],
  resetOnProgress: flag,
  healthyAfterMs: milliseconds,
};

function isRule(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const { exitCodes, signals, pattern, action, ...more } = value;
  const isCode = (code: unknown): boolean => isWhole(code, 0, 255);
  return (
    Object.keys(more).length === 0 &&
    ruleActions.includes(action as RuleAction) && // includes compares anything
    (exitCodes !== undefined || signals !== undefined || pattern !== undefined) &&
    (exitCodes === undefined ||
      (isList(exitCodes) &&
        exitCodes.every(
          each =>
            isCode(each) ||
            (isList(each) &&
              each.length === 2 &&
              each.every(isCode) &&
              Number(each[0]) <= Number(each[1])),
        ))) &&
    (signals === undefined ||
      (isList(signals) &&
        signals.every(name => isText(name) && signalNumber(name) !== undefined))) &&
    (pattern === undefined || (isText(pattern) && isPattern(pattern)))
  );
}

export function isPattern(text: string): boolean {
  try {
    return new RegExp(text) !== undefined;
  } catch {
    return false;
  }
}

/** Gives the policy by which the job answers failures. */
export function failurePolicyOf(
  options: FailureOptions & { readonly maxRestarts: number },
): FailurePolicy {
  const { restartWindow, backOff, maxRestarts } = options;
  const { failFastMs = 0, noProgressRounds = 0, healthyAfterMs = 0 } = options;
  const onlyWindow = restartWindow !== undefined && maxRestarts === 0;
  return {
    maxRestarts: onlyWindow ? Number.POSITIVE_INFINITY : maxRestarts,
    rules: (options.failureRules ?? []).map(ruleOf),
    resetOnProgress: options.resetOnProgress ?? false,
    ...(restartWindow === undefined ? {} : { window: restartWindow }),
    ...(backOff === undefined ? {} : { backOff }),
    ...(failFastMs > 0 ? { failFastMs } : {}),
    ...(noProgressRounds > 0 ? { noProgressRounds } : {}),
    ...(healthyAfterMs > 0 ? { healthyMs: healthyAfterMs } : {}),
  };
}

function ruleOf({ exitCodes, signals, pattern, action }: FailureRuleOption): FailureRule {
  const codes = exitCodes?.map(each => (typeof each === 'number' ? ([each, each] as const) : each));
  const text = [
    ...(codes ?? []).map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)),
    ...(signals ?? []),
    ...(pattern === undefined ? [] : [`/${pattern}/`]),
  ].join(',');
  return {
    ...(codes === undefined ? {} : { exitCodes: codes }),
    ...(signals === undefined
      ? {}
      : {
          signals: signals.map(name => signalNumber(name)).filter(number => number !== undefined),
        }),
    ...(pattern === undefined ? {} : { pattern: new RegExp(pattern) }),
    action,
    text: `${text}=${action}`,
  };
}
