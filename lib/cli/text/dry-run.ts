import { type LaunchPlan, plan, type WorkerPlan } from '../../launch.js';
import type { LaunchOptions } from '../../options/launch-options.js';
import type { CliSettings } from '../line/settings.js';
import type { GivenOption } from '../options/spec.js';

/** What would be started, and what would be wrong with it, for people. @throws as `plan` */
export function dryRunText(
  options: LaunchOptions,
  settings: CliSettings,
): { readonly text: string; readonly warnings: readonly string[] } {
  const planned = plan(options);
  const guess = planned.interpreter?.warning;
  return {
    text: describePlan(planned, settings),
    warnings: [
      ...(guess === undefined ? [] : [guess]),
      ...unknownYet(options),
      ...planned.warnings,
    ],
  };
}

/** What nobody can know of a job of several nodes before they have met. Pure. */
export function unknownYet({ minNodes = 1, maxNodes = minNodes }: LaunchOptions): string[] {
  if (maxNodes === 1) return [];
  const what = 'ranks, the world size and the master are known once the nodes have met';
  return [`${what}; what is told here is for this node alone`];
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
      ...interpreter(plan),
      ['cwd', plan.cwd],
      ['stdin', plan.stdin],
      ['signals', settings.signalsToHandle.join(', ')],
      [
        'stop signal to',
        plan.signalTarget === 'leader' ? 'each worker' : "each worker's process group",
      ],
      ['SIGKILL after', describeGrace(plan)],
      ...listed('options', settings.given.map(describeOption)),
    ]),
    '',
    ...workers,
  ].join('\n');
}

function interpreter({ interpreter }: LaunchPlan): readonly Fact[] {
  return interpreter === undefined
    ? []
    : [['interpreter', `${interpreter.path} (${interpreter.because})`]];
}

/** The usual one, and the reasons for which it's another. */
function describeGrace({ shutdownTimeoutMs, graceMs }: LaunchPlan): string {
  const others = Object.entries(graceMs)
    .filter(([, ms]) => ms !== shutdownTimeoutMs)
    .map(([reason, ms]) => `; ${reason}: ${ms / 1000} s`);
  return `${shutdownTimeoutMs / 1000} s${others.join('')}`;
}

function describeOption({ name, value, from }: GivenOption): string {
  const text = value === undefined ? name : `${name}=${quote(value)}`;
  return from === undefined ? text : `${text} (${from})`;
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
      ...listed('env', env),
    ]),
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

type Fact = readonly [name: string, value: string];

/** A fact of several lines; none if there are none. */
function listed(name: string, values: readonly string[]): readonly Fact[] {
  return values.map((value, index) => [index === 0 ? name : '', value]);
}

function facts(pairs: readonly Fact[]): readonly string[] {
  return pairs.map(([name, value]) => `  ${name.padEnd(nameWidth)}  ${value}`);
}

/** Quotes a text as a shell would take it. */
function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
