import type { FoundRun } from '../../control/find.js';
import type { DumpAnswer, RunStatus } from '../../control/words.js';
import { duration } from '../../util/duration.js';

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
    ...columns([
      ['rank', 'local', 'pid', 'state', 'for'],
      ...workers.map(worker => [
        String(worker.rank),
        String(worker.localRank),
        String(worker.pid),
        worker.state,
        duration(worker.ranMs),
      ]),
    ]),
  ];
}

function columns(rows: readonly (readonly string[])[]): readonly string[] {
  if (rows.length < 2) return [];
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map(row => row[column]?.length ?? 0)),
  );
  return rows.map(row => `  ${row.map((cell, i) => cell.padStart(widths[i] ?? 0)).join('  ')}`);
}

export function dumpText({ summary, files }: DumpAnswer): string {
  const paths = files.flatMap(({ path }) => (path === undefined ? [] : [`  ${path}`]));
  return [`workers wait: ${summary}`, ...paths].join('\n');
}
