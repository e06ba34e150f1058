import { type Check, fieldsOf, isRecord, milliseconds, oneOf, signalName, text } from './checks.js';

/**
 * When a job that still runs counts as hung, and what follows. A rule that isn't given is off; times
 * are milliseconds.
 */
export interface HangOptions {
  /** Time in which no worker of this node has written anything. */
  readonly silenceMs?: number;
  /** A line that must recur, in every worker that has written one. */
  readonly expect?: {
    /** A regular expression, without slashes; its first group is the value that `rule` is about. */
    readonly pattern: string;
    readonly everyMs: number;
    /** `finite`: a NaN or an infinity is a hang at once; `grows`: lines count only with a larger value. */
    readonly rule?: 'finite' | 'grows';
  };
  /** A worker that has beaten once (`regroup.store` in Python) hasn't for so long. */
  readonly heartbeatMs?: number;
  /** Time from the start to the first expected line or beat; without `expect`, to the first output. */
  readonly firstProgressMs?: number;
  /** `dump` tells and writes stacks; `restart` does both and then stops the group as failed. @default 'restart' */
  readonly action?: 'notify' | 'dump' | 'restart';
  /** Bounds the writing of stacks. @default 10_000 */
  readonly dumpMs?: number;
  /** Sent to workers that catch it where py-spy gave nothing: faulthandler.register's. @default none */
  readonly dumpSignal?: string;
}

export interface TimerOptions {
  /**
   * Whether workers' timers are served, PyTorch's FileTimerClient's, at a named pipe that TORCHELASTIC_TIMER_FILE tells them. A
   * file that's there is replaced. `path` is absolute, or from the working directory. @default not
   */
  readonly fileTimers?: {
    /** @default a new one in the temp dir */
    readonly path?: string;
  };
}

export const timerChecks: Readonly<Record<keyof TimerOptions, Check>> = {
  fileTimers: fieldsOf({ path: text }, 'an object, { path }'),
};

const [isMilliseconds] = milliseconds;

const period: Check = [isPeriod, 'milliseconds above 0'];

const fields: Readonly<Record<keyof HangOptions, Check>> = {
  silenceMs: period,
  expect: [isExpect, "{ pattern, everyMs, rule?: 'finite' | 'grows' }"],
  heartbeatMs: period,
  firstProgressMs: period,
  action: oneOf('notify', 'dump', 'restart'),
  dumpMs: period,
  dumpSignal: signalName,
};

export const hangCheck: Check = fieldsOf(
  fields,
  'an object with silenceMs, expect: { pattern, everyMs, rule }, heartbeatMs, firstProgressMs, action, dumpMs, dumpSignal',
);

/** Whether a rule needs to see what workers write. */
export function watchesOutput(hang: HangOptions | undefined): boolean {
  if (hang === undefined) return false;
  return (
    hang.silenceMs !== undefined || hang.expect !== undefined || hang.firstProgressMs !== undefined
  );
}

export function isPattern(pattern: string): boolean {
  try {
    new RegExp(pattern);
    return true;
  } catch {
    return false; // a SyntaxError is the answer
  }
}

function isPeriod(value: unknown): boolean {
  return isMilliseconds(value) && (value as number) > 0; // isMilliseconds has just told
}

function isExpect(value: unknown): boolean {
  return (
    isRecord(value) &&
    text[0](value.pattern) &&
    isPattern(value.pattern as string) && // text has just told
    isPeriod(value.everyMs) &&
    (value.rule === undefined || value.rule === 'finite' || value.rule === 'grows')
  );
}
