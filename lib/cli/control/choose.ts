import type { FoundRun } from '../../control/find.js';
import type { RunStatus } from '../../control/words.js';

/** The run that's meant; pure. */
export type Chosen = (FoundRun & { readonly status: RunStatus }) | { readonly why: string };

/** @param wanted a run's id, the beginning of it, or its agent's pid; absent: the only one */
export function choose(runs: readonly FoundRun[], wanted: string | undefined): Chosen {
  const [only, ...others] = wanted === undefined ? runs : meant(runs, wanted);
  if (only === undefined) {
    const which = wanted === undefined ? 'no run of this user' : `no run ${wanted} of this user`;
    return { why: `${which} has a control socket here${listOf(runs)}` };
  }
  if (others.length > 0) return { why: `there are several; name one${listOf([only, ...others])}` };
  const { status } = only;
  if (status === undefined) return { why: `its agent, pid ${only.pid}, doesn't answer` };
  return { ...only, status };
}

function meant(runs: readonly FoundRun[], wanted: string): readonly FoundRun[] {
  const exact = runs.filter(
    ({ pid, status }) => String(pid) === wanted || status?.runId === wanted,
  );
  return exact.length > 0 ? exact : runs.filter(({ status }) => status?.runId.startsWith(wanted));
}

function listOf(runs: readonly FoundRun[]): string {
  const lines = runs.map(({ pid, status }) =>
    status === undefined ? `\n  ${pid}` : `\n  ${status.runId}  ${status.name}, pid ${pid}`,
  );
  return lines.length === 0 ? '' : `:${lines.join('')}`;
}
