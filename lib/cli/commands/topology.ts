import { inspectMachine, plan } from '../../launch.js';
import type { MachineOverview } from '../../machine/overview.js';
import type { LaunchOptions } from '../../options/launch-options.js';
import { parseCommand } from '../line/args.js';
import type { Env } from '../options/spec.js';
import { answer } from '../process/console.js';
import { packageVersion } from '../process/version.js';
import { topologyText } from '../text/topology.js';

const help = `usage: regroup topology [--json] [OPTIONS]

Draws the machine as far as this process may use it, and where workers would run with the same
OPTIONS: --nproc-per-node, --numa-binding, --bind and what goes with them. Starts nothing.

  --json  print it as JSON: cpus, nodes, gpus, nics, plan
  --help  print this and exit

Without --nproc-per-node there is a worker for each GPU, else for each NUMA node; without
--numa-binding and --bind the plan is that of --bind=auto.
A script of this name is started by \`regroup ./topology\`.
`;

/** `regroup topology`. @throws as `plan`, after the machine has been drawn */
export async function runTopology(argv: readonly string[], env: Env): Promise<void> {
  const isJson = argv.includes('--json');
  const rest = argv.filter(each => each !== '--json');
  const machine = await inspectMachine(env);
  const workers = String(machine.gpus.length || machine.nodes.filter(({ cpus }) => cpus).length);
  // The last one said wins, and so does the variable.
  const before = 'PET_NPROC_PER_NODE' in env ? [] : [`--nproc-per-node=${workers}`];
  const parsed = parseCommand('regroup', [...before, ...rest, '--no-python', 'true'], env);
  switch (parsed.do) {
    case 'help':
      await answer(1, help);
      break;
    case 'error':
      process.exitCode = parsed.exitCode;
      await answer(2, `${parsed.text}\n`);
      break;
    case 'version':
      await answer(1, `regroup ${packageVersion()}\n`);
      break;
    default:
      await draw(machine, parsed.options, isJson);
  }
}

async function draw(
  machine: MachineOverview,
  options: LaunchOptions,
  isJson: boolean,
): Promise<void> {
  const { placement = { mode: 'auto', fallback: true } } = options;
  const { mode = placement.cpus === undefined ? 'auto' : 'as said by --bind' } = placement;
  let problem: unknown;
  let decided: ReturnType<typeof plan> | undefined;
  try {
    decided = plan({ ...options, placement });
  } catch (error) {
    problem = error;
  }

  if (isJson) {
    const workers = decided?.workers.map(({ localRank, gpu, placement: bound }) => ({
      localRank,
      gpu,
      ...bound,
    }));
    const shown = { ...machine, plan: workers && { mode, workers } };
    await answer(1, `${JSON.stringify(shown, undefined, 2)}\n`);
  } else {
    await answer(1, `${topologyText(machine, decided, mode)}\n`);
  }
  if (problem !== undefined) throw problem;
}
