import type { StopsEvent } from '../../events/stops.js';
import type { WorkerFailure } from '../../events.js';
import type { Interpreter, LogFiles } from '../../launch.js';
import { duration } from '../../util/duration.js';
import { firstOf } from './describe.js';
import { headline, nameOf } from './torchrun-report.js';

/** A reason longer than this is cut: the report has it whole. */
const maxReason = 200;
/** Workers that are named in one line, at most. */
const maxOutlasted = 16;
/** Time in which imports end: who has lived longer didn't fail at one. */
const importsMs = 60_000;

/** Where to look, once a worker has failed; empty where nothing of its output is in a file. */
export function whereToLook(rank: number, logs: LogFiles | undefined): string[] {
  if (logs === undefined) return [];
  const { folder, stdout, stderr } = logs;
  const file = stderr === undefined ? ['stdout', stdout] : ['stderr', stderr];
  const own = file[1] === undefined ? '' : `; worker ${rank}'s ${file[0]}: ${file[1]}`;
  return [`logs: ${folder}${own}`];
}

/** Workers that were killed at the end of a grace period: of each signal and period one line. */
export function describeOutlasted(failures: readonly WorkerFailure[]): string[] {
  const some = new Map<string, string[]>();
  for (const failure of [...failures].sort((a, b) => a.rank - b.rank)) {
    const { outlasted } = failure;
    if (outlasted === undefined) continue;
    const how = `did not end within ${duration(outlasted.graceMs)} of ${outlasted.signal}`;
    some.set(how, [...(some.get(how) ?? []), nameOf(failure)]);
  }
  return [...some].map(([how, names]) => {
    return `${firstOf(names, maxOutlasted)} ${how}, and ${names.length === 1 ? 'was' : 'were'} killed`;
  });
}

/** Workers that have not ended at their signal yet. */
export function describeOutlasting({ workers, signal, forMs, leftMs }: StopsEvent): string {
  const names = workers.map(worker => {
    const where = worker.waitChannel === undefined ? '' : `, in ${worker.waitChannel}`;
    return `worker ${worker.rank} (local ${worker.localRank}, pid ${worker.pid}${where})`;
  });
  const verb = workers.length === 1 ? 'has' : 'have';
  return `${firstOf(names, maxOutlasted)} ${verb} not ended ${duration(forMs)} after ${signal}; SIGKILL follows in ${duration(leftMs)}`;
}

/**
 * The last line of a run that failed: who, why, where and the exit code.
 *
 * @param logs of the root cause; absent where it's another node's
 */
export function lastWords(
  rootCause: WorkerFailure,
  exitCode: number,
  logs: LogFiles | undefined,
): string {
  const reason = reasonOf(rootCause);
  const why = reason === undefined ? '' : `: ${reason}`;
  const file = logs?.stderr ?? logs?.stdout ?? rootCause.errorFile;
  const where =
    file === undefined ? '' : `; see ${file}${rootCause.node === undefined ? '' : ' there'}`;
  return `the job failed: ${headline(rootCause)}${why}${where}; exit code ${exitCode}`;
}

/**
 * Which Python it was and why, where that's to blame, or may be: a module is missing, or a worker whose words nobody has
 * seen but the console failed early, under an interpreter that nobody has named.
 */
export function interpreterToBlame(
  rootCause: WorkerFailure,
  interpreter: Interpreter | undefined,
): string | undefined {
  if (interpreter === undefined) return undefined;
  const { exit, durationMs, tail, errorFile, message } = rootCause;
  const told = `${tail ?? ''}\n${message}`;
  const isUntold = tail === undefined && errorFile === undefined;
  const isNamed = ['PYTHON_EXEC', 'REGROUP_PYTHON', 'python'].includes(interpreter.because);
  const mayBe =
    isUntold && !isNamed && exit.how === 'exited' && exit.code === 1 && durationMs < importsMs;
  if (!mayBe && !/\bModuleNotFoundError\b|\bNo module named\b/.test(told)) return undefined;
  return `interpreter: ${interpreter.path} (${interpreter.because})`;
}

/** Reason of a failure in one line; nothing where the exit itself says it all. */
function reasonOf({ cause, message, errorFile, outOfMemory, outOfPids, tail }: WorkerFailure) {
  const text =
    cause === 'hang' || errorFile !== undefined
      ? message
      : (outOfMemory ?? outOfPids ?? raisedIn(tail ?? ''));
  const line = text
    ?.split('\n')
    .find(each => each.trim() !== '')
    ?.trim();
  if (line === undefined || line.length <= maxReason) return line;
  return `${line.slice(0, maxReason)}…`;
}

/**
 * What the last traceback of a text ends with: `ValueError: boom`. What follows it is said at the interpreter's end.
 *
 * @source CPython 3.13, Lib/traceback.py; PyTorch 2.13 puts `[rank0]: ` before each line of it
 */
function raisedIn(text: string): string | undefined {
  const lines = text.split('\n').map(line => line.replace(/^\[rank\d+\]: ?/, ''));
  const begins = lines.findLastIndex(line => line.startsWith('Traceback (most recent call last):'));
  if (begins < 0) return lines.findLast(line => /: No module named /.test(line));
  return lines.slice(begins + 1).find(line => /^\S/.test(line));
}

/** The last lines that it has written; absent where they're on the console only. */
export function describeTail({ rank, tail }: WorkerFailure): string | undefined {
  if (tail === undefined) return undefined;
  const lines = tail.replace(/\n$/, '').split('\n');
  return [`the end of worker ${rank}'s stderr:`, ...lines.map(line => `  | ${line}`)].join('\n');
}
