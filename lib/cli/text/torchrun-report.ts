import type { WorkerFailure } from '../../events.js';
import { localTime } from '../../system/local-time.js';
import { duration } from '../../util/duration.js';
import { signalName } from '../../util/signals.js';
import { describeExit } from '../../worker-exit.js';

/** Width of the report's rules at most, however long its lines are. */
const maxRuleWidth = 60;

/**
 * torchrun's failure report, byte for byte, from `torch.distributed…ChildFailedError: ` to the last
 * rule, without a newline at the end. Users and log scrapers match it.
 *
 * @param name what failed: the script, or the program
 * @param failures the root cause first; one at least. They're numbered as torchrun sees them: those before the stop,
 *   then those that it ended, each by rank
 * @source pytorch v2.13.0, torch/distributed/elastic/multiprocessing/errors/__init__.py, ChildFailedError.format_msg
 */
export function failureReport(name: string, failures: readonly WorkerFailure[]): string {
  const [root] = failures;
  const title = `${name} FAILED`;
  const blocks = [...failures]
    .sort(
      (one, other) => Number(one.duringStop) - Number(other.duringStop) || one.rank - other.rank,
    )
    .map((failure, index) => ({ failure, text: block(index, failure) }));
  const width = Math.min(
    maxRuleWidth,
    Math.max(lengthOf(title), ...blocks.flatMap(({ text }) => text.split('\n').map(lengthOf))),
  );
  const others = blocks.filter(({ failure }) => failure !== root).map(({ text }) => text);
  return [
    'torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ',
    '='.repeat(width),
    title,
    '-'.repeat(width),
    'Failures:',
    ...(others.length > 0 ? others : ['  <NO_OTHER_FAILURES>']),
    '-'.repeat(width),
    'Root Cause (first observed failure):',
    ...blocks.filter(({ failure }) => failure === root).map(({ text }) => text),
    '='.repeat(width),
  ].join('\n');
}

function block(index: number, failure: WorkerFailure): string {
  // The blank before the signal's name is there without a name, too.
  const signal = failure.exitcode < 0 ? signalName(-failure.exitcode) : undefined;
  return [
    `[${index}]:`,
    `  time      : ${wallTime(failure.timestamp)}`,
    `  host      : ${failure.host}`,
    `  rank      : ${failure.rank} (local_rank: ${failure.localRank})`,
    `  exitcode  : ${failure.exitcode} (pid: ${failure.pid}) ${signal === undefined ? '' : ` (${signal})`}`,
    `  error_file: ${failure.errorFile ?? '<N/A>'}`,
    `  traceback : ${failure.traceback}`,
  ].join('\n');
}

/**
 * The line that torchrun logs before its report.
 *
 * @param startMethod of function entrypoints, whose `binary` is the function's name
 * @source pytorch v2.13.0, torch/distributed/elastic/multiprocessing/api.py, SubprocessContext._poll
 */
export function failedLine(failure: WorkerFailure, binary: string, startMethod?: string): string {
  const what =
    startMethod === undefined
      ? `binary: ${binary}`
      : `fn: ${binary} (start_method: ${startMethod})`;
  return `failed (exitcode: ${failure.exitcode}) local_rank: ${failure.localRank} (pid: ${failure.pid}) of ${what}`;
}

/** Headline for people: `worker 3 (local 3) was killed by SIGSEGV after 12.4 s`. */
export function headline(
  failure: Pick<WorkerFailure, 'rank' | 'localRank' | 'node' | 'exit' | 'durationMs'>,
): string {
  return `${nameOf(failure)} ${describeExit(failure.exit)} after ${duration(failure.durationMs)}`;
}

/** A worker with its node, where that's another one: `worker 3 (local 1) on node2 (10.0.0.2)`. */
export function nameOf({
  rank,
  localRank,
  node,
}: Pick<WorkerFailure, 'rank' | 'localRank' | 'node'>): string {
  return `worker ${rank} (local ${localRank})${node === undefined ? '' : ` on ${node}`}`;
}

/** End of a headline, for people: `restarting, 2 of 3 restarts left`. */
export function restartsLine(restartsLeft: number, maxRestarts: number): string {
  return `restarting, ${restartsLeft} of ${maxRestarts} restart${maxRestarts === 1 ? '' : 's'} left`;
}

/** `YYYY-MM-DD_HH:MM:SS` of this machine's clock on the wall. */
function wallTime(timestamp: number): string {
  const { year, month, day, clock } = localTime(timestamp * 1000);
  return `${year}-${month}-${day}_${clock}`;
}

/** Length in characters as Python counts them, not in UTF-16 units. */
function lengthOf(text: string): number {
  return [...text].length;
}
