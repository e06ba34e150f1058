import { launchError } from '../../errors.js';
import { addressOf } from '../../util/address.js';
import { c10dPort, type NodesOptions } from '../nodes.js';
import type { Allotment, Env, Said } from './allotment.js';
import { findAllotment } from './find.js';
import { noFirstPod } from './pods.js';
import { here } from './surroundings.js';

/** Options that a scheduler decides, and the job's name for `runId`. */
export type NodesFromScheduler = NodesOptions & { readonly runId?: string };

/**
 * Options about nodes by the variables of the scheduler that started this process, for programs: Slurm in a step of srun,
 * PyTorchJob, SkyPilot, Lepton, and an Indexed Job whose number of nodes is given. The command does so without being asked;
 * `launch()` looks at no such variable, so that a program means the same everywhere. Spread them before options of your
 * own: `launch({ ...nodesFromScheduler(), ...options })`.
 *
 * @param options.env the variables. @default process.env
 * @param options.nodes how many nodes there are, where no variable says it. @default by the scheduler
 * @returns nothing where there's one node
 * @throws ERR_OPTION where there are several, but variables are missing or contradict each other
 */
export function nodesFromScheduler({
  env = process.env,
  nodes: own,
}: {
  readonly env?: Env;
  readonly nodes?: number;
} = {}): NodesFromScheduler {
  if (own === 1) return {};
  const finding = findAllotment(env, here);
  if (finding.found === 'nothing') return {};
  if (finding.found === 'conflict') refuse(finding);
  const { allotment } = finding;
  const nodes = own ?? allotment.nodes?.value;
  if (nodes === undefined) return {};
  if (nodes > (allotment.nodes?.value ?? nodes)) {
    const problem = `the scheduler gives ${allotment.nodes?.value}, and not ${nodes}`;
    throw launchError('ERR_OPTION', ['nodes', `${problem}; give as many at most`]);
  }
  if (allotment.first === undefined) refuse(noFirstPod(env));
  return optionsOf(allotment, nodes, allotment.first);
}

function optionsOf(allotment: Allotment, nodes: number, first: Said<string>): NodesFromScheduler {
  const { scheduler, rank, port, id } = allotment;
  const rdzvEndpoint = addressOf(first.value, port?.value ?? c10dPort);
  const runId = id?.value ?? 'none';
  const said = { value: String(nodes), from: 'nodes' };
  const taken = [
    { option: 'minNodes', ...(allotment.nodes ?? said), value: String(nodes) },
    { option: 'nodeRank', value: String(rank.value), from: rank.from },
    { option: 'rdzvEndpoint', value: rdzvEndpoint, from: first.from },
    ...(id === undefined ? [] : [{ option: 'runId', ...id }]),
  ];
  return {
    minNodes: nodes,
    rdzvBackend: 'c10d',
    rdzvEndpoint,
    isHost: rank.value === 0,
    nodeRank: rank.value,
    runId,
    scheduler: { scheduler, taken },
  };
}

function refuse({ source, why }: { readonly source: string; readonly why: string }): never {
  const instead = 'give minNodes, nodeRank and rdzvEndpoint yourself';
  throw launchError('ERR_OPTION', ['env', `${source}: ${why}; ${instead}`]);
}
