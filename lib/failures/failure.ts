import type { Hang, WorkerExit, WorkerFailure, WorkerIdentity } from '../events.js';
import { signalName } from '../util/signals.js';
import { describeExit, exitcodeOf, isSuccess } from '../worker-exit.js';
import type { ErrorFileRead } from './error-file.js';

/** An end as the agent saw it. */
export interface SeenExit {
  readonly worker: WorkerIdentity;
  readonly exit: WorkerExit;
  readonly cause: 'own' | 'hang' | 'stopped-by-us';
  /** What a hang rule said of it. */
  readonly hang?: Hang;
  /** Whether we had begun to stop the group by then. */
  readonly duringStop: boolean;
  readonly outlasted?: WorkerFailure['outlasted'];
  /** Time from the worker's exec to its end. */
  readonly durationMs: number;
  /** CLOCK_MONOTONIC of its end, or of the early notice of it. */
  readonly atMs: number;
}

/** What a worker has left that tells why it failed. */
export interface Remains {
  readonly recorded: ErrorFileRead;
  /** The path of its error file; absent where it was given none. */
  readonly errorFile?: string;
  readonly tail?: string;
  readonly outOfMemory?: string;
  readonly outOfPids?: string;
}

/** What's known of a failed worker, in one piece. */
export function describeFailure(
  seen: SeenExit,
  { recorded: { file }, errorFile, tail, outOfMemory, outOfPids }: Remains,
  around: { readonly host: string; readonly seenAtUnixMs: number },
): WorkerFailure {
  const { hang, exit, worker } = seen;
  const generated = generatedMessage(exit, worker.pid);
  // What the stop made it write is an echo of our own signal.
  const hung = hang === undefined ? undefined : `hung (${hang.rule}): ${hang.message}`;
  const read = file.kind === 'read' && file.message !== '' ? file : undefined;
  const note = file.kind === 'unusable' ? ` (its error file ${file.reason})` : '';
  return {
    rank: worker.rank,
    localRank: worker.localRank,
    pid: worker.pid,
    exit,
    exitcode: exitcodeOf(exit),
    cause: seen.cause,
    duringStop: seen.duringStop,
    ...(seen.outlasted === undefined ? {} : { outlasted: seen.outlasted }),
    durationMs: seen.durationMs,
    message: hung ?? read?.message ?? generated + note,
    traceback: hung ?? read?.traceback ?? generated + note,
    timestamp:
      (file.kind === 'read' ? file.timestamp : undefined) ?? Math.floor(around.seenAtUnixMs / 1000),
    host: around.host,
    ...(read === undefined ? {} : { recorded: read.message }),
    ...(file.kind === 'absent' || errorFile === undefined ? {} : { errorFile }),
    ...(tail === undefined || tail === '' ? {} : { tail }),
    ...(outOfMemory === undefined ? {} : { outOfMemory }),
    ...(outOfPids === undefined ? {} : { outOfPids }),
  };
}

/** A worker's own last words. Its failure's message may be ours, and "error" may be in that. */
export function wordsOf({ recorded = '', tail = '' }: WorkerFailure): string {
  return `${recorded}\n${tail}`;
}

/** Whether an end is a failure, or belongs to one. */
export function isFailed({ exit, cause }: Pick<SeenExit, 'exit' | 'cause'>): boolean {
  return cause === 'hang' || !isSuccess(exit);
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
