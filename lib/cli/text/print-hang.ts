import type { AgentEvent, WorkerFailure } from '../../events.js';
import { shown } from '../../util/shown.js';
import { describeExit } from '../../worker-exit.js';
import { nameOf } from './torchrun-report.js';

/** Who is to blame, in words for people; pure. */

type Event<Name extends AgentEvent['event']> = Extract<AgentEvent, { event: Name }>;

export function describeRoot(failure: WorkerFailure): string {
  const { exit, outOfMemory, recorded, cause, message } = failure;
  const lines = (cause === 'hang' ? message : (recorded ?? '')).trimEnd().split('\n');
  const why = outOfMemory ?? (lines.at(-1) || `it ${describeExit(exit)}`);
  return `the root cause is ${nameOf(failure)}: ${why}`;
}

export function describeHang({ hang }: Event<'hung'>): string {
  const { rank, localRank, pid } = hang.worker;
  // Most scripts print on one rank alone, and that one may be the victim.
  const how = hang.rule === 'silence' ? 'has stopped writing; it may wait for another' : 'hangs';
  return `worker ${rank} (local ${localRank}, pid ${pid}) ${how}: ${hang.message}`;
}

/** Completes what a script's author knows of its timer. */
export function describeTimer({ worker, scope, signal }: Event<'timer-expired'>): string {
  const { rank, localRank, pid } = worker;
  const what =
    signal === undefined ? 'no signal is asked for' : `it gets ${signal} when stacks are taken`;
  return `worker ${rank} (local ${localRank}, pid ${pid}) has let a timer expire, ${shown(scope)}; ${what}`;
}

export function describeDump({
  files,
  summary,
  culprit,
  because,
  lacksPySpy,
}: Event<'dumped'>): string {
  const paths = files.flatMap(({ path }) => (path === undefined ? [] : [`  ${path}`]));
  const who =
    culprit === undefined || because === undefined
      ? []
      : [`  worker ${culprit.rank} keeps them waiting: ${because}`];
  const hint = lacksPySpy
    ? ['  for Python frames, put py-spy on the PATH of the workers (pip install py-spy)']
    : [];
  return [`workers wait: ${summary}`, ...who, ...paths, ...hint].join('\n');
}
