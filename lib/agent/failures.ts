import type { WorkerExit, WorkerIdentity } from '../events.js';
import { signalName } from '../util/signals.js';
import type { Hang } from './hang.js';

/** A worker that didn't end with 0. */
export interface WorkerFailure {
  readonly rank: number;
  readonly localRank: number;
  readonly pid: number;
  readonly exit: WorkerExit;
  /** As Python has it: 0…255, or the negative number of the signal. */
  readonly exitcode: number;
  /**
   * `own`: the worker exited or crashed by itself; `stopped-by-us`: it ended by a signal that we
   * sent, because another had failed; `hang`: a hang rule found it, and `message` says which.
   */
  readonly cause: 'own' | 'hang' | 'stopped-by-us';
  /** From its exec to its end. */
  readonly durationMs: number;
  /** What happened, in one or a few lines: the exception, or what its exit tells. */
  readonly message: string;
  /** What the report says behind `traceback :`, indented as it is there. */
  readonly traceback: string;
  /** Unix time in whole seconds: what the error file says, else when we saw the end. */
  readonly timestamp: number;
  /** This node's name. */
  readonly host: string;
  /** The worker's error file; absent if it wrote none. */
  readonly errorFile?: string;
  /** The last lines of its stderr; absent where stderr went to the console only. */
  readonly tail?: string;
  /** That the kernel killed it for lack of memory: `host memory: …`. Absent for all other ends. */
  readonly outOfMemory?: string;
  /** That it wanted more processes than its limit allows. It may have failed of something else. */
  readonly outOfPids?: string;
}

/** What a worker left in its error file. */
export type ErrorFile =
  | { readonly kind: 'absent' }
  /** `reason` completes "its error file …". */
  | { readonly kind: 'malformed'; readonly reason: string }
  | {
      readonly kind: 'read';
      /** Empty if it says nothing. */
      readonly message: string;
      readonly traceback: string;
      readonly timestamp?: number;
    };

/** An end as the agent saw it; those of one round are kept in that order. */
export interface SeenExit {
  readonly worker: WorkerIdentity;
  readonly exit: WorkerExit;
  readonly cause: 'own' | 'hang' | 'stopped-by-us';
  /** What a hang rule said of it. */
  readonly hang?: Hang;
  readonly durationMs: number;
  /** Unix time in milliseconds. */
  readonly seenAtUnixMs: number;
}

/**
 * Reads an error file as torch's `record` writes it, or anything that's near enough: what doesn't
 * fit is left out, so that no file can hide the failure that it's about.
 *
 * @param text absent if there's no file
 * @source pytorch v2.13.0, torch/distributed/elastic/multiprocessing/errors/__init__.py, ProcessFailure
 */
export function parseErrorFile(text: string | undefined): ErrorFile {
  if (text === undefined) return { kind: 'absent' };

  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return { kind: 'malformed', reason: text.trim() === '' ? 'is empty' : "isn't JSON" };
  }
  if (!isObject(data)) return { kind: 'malformed', reason: "isn't a JSON object" };

  const { message } = data;
  if (typeof message === 'string') {
    // Shown as it is: only tracebacks are indented.
    return { kind: 'read', message, traceback: message, ...timestamp(data.timestamp) };
  }
  if (!isObject(message)) return { kind: 'malformed', reason: 'has no message' };

  const extra = isObject(message.extraInfo) ? message.extraInfo : {};
  const inner = stringOf(message.message);
  const shown = stringOf(extra.py_callstack) ?? inner ?? '<N/A>';
  return {
    kind: 'read',
    message: inner ?? lastLine(shown),
    traceback: shown.replaceAll('\n', '\n  '),
    ...timestamp(extra.timestamp ?? data.timestamp),
  };
}

/** What's known of a failed worker, in one piece. */
export function describeFailure(
  seen: SeenExit,
  context: {
    readonly file: ErrorFile;
    readonly errorFile: string | undefined;
    readonly host: string;
    readonly tail?: string | undefined;
    readonly outOfMemory?: string | undefined;
    readonly outOfPids?: string | undefined;
  },
): WorkerFailure {
  const { file, errorFile, host, tail, outOfMemory, outOfPids } = context;
  const exitcode = exitcodeOf(seen.exit);
  const generated = generatedMessage(seen.exit, seen.worker.pid);
  // What the stop made it write is an echo of our own signal.
  const hung =
    seen.hang === undefined ? undefined : `hung (${seen.hang.rule}): ${seen.hang.message}`;
  const read = file.kind === 'read' && file.message !== '' ? file : undefined;
  const note = file.kind === 'malformed' ? ` (its error file ${file.reason})` : '';
  return {
    rank: seen.worker.rank,
    localRank: seen.worker.localRank,
    pid: seen.worker.pid,
    exit: seen.exit,
    exitcode,
    cause: seen.cause,
    durationMs: seen.durationMs,
    message: hung ?? read?.message ?? generated + note,
    traceback: hung ?? read?.traceback ?? generated + note,
    timestamp:
      (file.kind === 'read' ? file.timestamp : undefined) ?? Math.floor(seen.seenAtUnixMs / 1000),
    host,
    ...(file.kind === 'absent' || errorFile === undefined ? {} : { errorFile }),
    ...(tail === undefined || tail === '' ? {} : { tail }),
    ...(outOfMemory === undefined ? {} : { outOfMemory }),
    ...(outOfPids === undefined ? {} : { outOfPids }),
  };
}

/**
 * Which of the failures, given in the order in which we saw them, came first. A hang that made us stop
 * beats all, for nothing had failed by then,
 * and the kernel's lack of memory beats what it made others do. A worker's own end
 * beats a signal that we sent. Among equals the earlier second wins, and within one second, all that
 * error files tell, our order does: a traceback is written before its process ends, but a process
 * without one is stamped at its end, so finer comparisons would favour the wrong one.
 */
export function rootCauseOf<F extends Pick<WorkerFailure, 'cause' | 'timestamp' | 'outOfMemory'>>(
  failures: readonly F[],
): F | undefined {
  const hung = failures.find(failure => failure.cause === 'hang');
  if (hung !== undefined) return hung;
  // Its peers' broken connections may be noticed in the same second.
  const starved = failures.find(failure => failure.outOfMemory !== undefined);
  if (starved !== undefined) return starved;
  const own = failures.filter(failure => failure.cause === 'own');
  const candidates = own.length > 0 ? own : failures;
  return candidates.reduce<F | undefined>(
    (first, failure) =>
      first === undefined || failure.timestamp < first.timestamp ? failure : first,
    undefined,
  );
}

/** @returns as Python's subprocess has it. 255 for a status that somebody else took: it's no success. */
export function exitcodeOf(exit: WorkerExit): number {
  switch (exit.how) {
    case 'exited':
      return exit.code;
    case 'signaled':
      return -exit.signalNumber;
    case 'unknown':
      return 255;
  }
}

/** `exited with code 3`, `was killed by SIGSEGV (core dumped)`: completes "worker 3 …". */
export function describeExit(exit: WorkerExit): string {
  switch (exit.how) {
    case 'exited':
      return `exited with code ${exit.code}`;
    case 'signaled':
      return `was killed by ${exit.signal}${exit.coreDumped ? ' (core dumped)' : ''}`;
    case 'unknown':
      return 'ended with a status that another part of this process has taken';
  }
}

function generatedMessage(exit: WorkerExit, pid: number): string {
  switch (exit.how) {
    case 'signaled':
      return `Signal ${exit.signalNumber} (${signalName(exit.signalNumber) ?? '<N/A>'}) received by PID ${pid}`;
    case 'unknown':
      return `PID ${pid} ${describeExit(exit)}`;
    case 'exited':
      return 'To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html';
  }
}

/** Whole seconds, as a number or as the text that `record` writes. Nonsense is left out. */
function timestamp(value: unknown): { timestamp?: number } {
  const seconds = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof seconds !== 'number' || !Number.isFinite(seconds)) return {};
  return seconds > 0 && seconds < kMaxTimestamp ? { timestamp: Math.floor(seconds) } : {};
}

/** Year 9999: the last that the report's `time` has room for. */
const kMaxTimestamp = 253_402_300_800;

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function stringOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1) ?? '';
}
