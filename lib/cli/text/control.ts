import type { FoundRun } from '../../control/find.js';
import type { DumpAnswer, RunStatus } from '../../control/words.js';
import { duration } from '../../util/duration.js';
import { columns } from './columns.js';

/** Runs as a table for people. Pure; ends without a line break. */
export function runsText(runs: readonly FoundRun[]): string {
  return runs
    .map(({ pid, status }) =>
      status === undefined ? `pid ${pid} doesn't answer` : runText(status).join('\n'),
    )
    .join('\n\n');
}

function runText(status: RunStatus): readonly string[] {
  const { runId, name, host, pid, ranMs, phase, workers, logFolder } = status;
  const { round, restartsLeft, maxRestarts, nodes, groupRank, worldSize } = status;
  const facts = [
    phase,
    ...(round === undefined ? [] : [`round ${round}`]),
    ...(restartsLeft === undefined ? [] : [`${restartsLeft} of ${maxRestarts} restarts left`]),
    ...(nodes === undefined ? [] : [`node ${groupRank} of ${nodes}, ${worldSize} workers in all`]),
  ];
  return [
    `${runId}  ${name} on ${host}, pid ${pid}, for ${duration(ranMs)}`,
    `  ${facts.join('; ')}`,
    ...(logFolder === undefined ? [] : [`  logs: ${logFolder}`]),
    ...workersText(workers),
  ];
}

function workersText(workers: RunStatus['workers']): readonly string[] {
  if (workers.length === 0) return [];
  const rows = workers.map(({ rank, localRank, pid, state, ranMs }) => [
    String(rank),
    String(localRank),
    String(pid),
    state,
    duration(ranMs),
  ]);
  const header = ['rank', 'local', 'pid', 'state', 'for'];
  return columns([header, ...rows], () => true).map(line => `  ${line}`);
}

export function dumpText({ summary, files }: DumpAnswer): string {
  const paths = files.flatMap(({ path }) => (path === undefined ? [] : [`  ${path}`]));
  return [`workers wait: ${summary}`, ...paths].join('\n');
}
