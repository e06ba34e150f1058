import { type LaunchPlan, plan, type WorkerPlan } from '../launch.js';
import type { LaunchOptions } from '../options.js';
import type { CliSettings } from './settings.js';

/** What would be started, for people. @throws as `plan` */
export function dryRunText(options: LaunchOptions, settings: CliSettings): string {
  return describePlan(plan(options), settings);
}

/** Pure. */
export function describePlan(plan: LaunchPlan, settings: CliSettings): string {
  const workers = plan.workers.flatMap(describeWorker);
  return [
    'nothing is started (--dry-run)',
    '',
    ...facts([
      ['run id', plan.runId],
      ['workers', `${plan.localWorldSize} on this node, ${plan.worldSize} in the job`],
      ['max restarts', String(plan.maxRestarts)],
      ['master', `${plan.masterAddr}:${plan.masterPort || '(a free port, anew in each round)'}`],
      ['store', plan.agentStore ? 'served by regroup' : 'left to rank 0'],
      ['log folder', plan.runFolder ?? '(none)'],
      ['cwd', plan.cwd],
      ['stdin', plan.stdin],
      ['signals', settings.signalsToHandle.join(', ')],
      [
        'stop signal to',
        plan.signalTarget === 'leader' ? 'each worker' : "each worker's process group",
      ],
      ['SIGKILL after', `${plan.shutdownTimeoutMs / 1000} s`],
    ]),
    '',
    ...workers,
  ].join('\n');
}

function describeWorker(worker: WorkerPlan): readonly string[] {
  const env = Object.entries(worker.env).map(([name, value]) => `${name}=${quote(value)}`);
  return [
    `worker ${worker.rank} (local ${worker.localRank})`,
    ...facts([
      ['argv', worker.argv.map(quote).join(' ')],
      ['stdout', describeStream(worker.stdout)],
      ['stderr', describeStream(worker.stderr)],
      ...(worker.binding === undefined ? [] : [['bound to', worker.binding] as const]),
      ['error file', worker.errorFile ?? '(none)'],
      ['env', env[0] ?? ''],
    ]),
    ...env.slice(1).map(entry => `${' '.repeat(nameWidth + 4)}${entry}`),
    '',
  ];
}

function describeStream(stream: WorkerPlan['stdout']): string {
  switch (stream.to) {
    case 'inherit':
      return 'as our own';
    case 'null':
      return '/dev/null';
    case 'file':
      return stream.path;
    default: {
      const targets = [
        ...(stream.file === undefined ? [] : [stream.file]),
        ...(stream.console === undefined
          ? []
          : [`console, lines behind ${quote(stream.prefix ?? '')}`]),
        ...(stream.filteredFile === undefined ? [] : [`${stream.filteredFile}, matching lines`]),
      ];
      return targets.join(' + ');
    }
  }
}

const nameWidth = 14;

function facts(pairs: readonly (readonly [name: string, value: string])[]): readonly string[] {
  return pairs.map(([name, value]) => `  ${name.padEnd(nameWidth)}  ${value}`);
}

/** As a shell would take it. */
function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
