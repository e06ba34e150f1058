import type { LaunchOptions } from '../../options/launch-options.js';
import {
  maxLeaseMs,
  minAgentStallMs,
  minLeaseMs,
  nodesDefaults,
  sizesProblem,
} from '../../options/nodes.js';
import { durationOf, perTimeOf } from '../line/durations.js';
import { type NodeCounts, parseNodes } from '../line/meeting.js';
import { readWhole } from '../line/whole.js';
import type { Env, Feature, OptionSpec, Values } from './spec.js';

const option = (name: string, metavar: string, help: string): OptionSpec => ({
  names: [name],
  dest: name.slice(2).replaceAll('-', '_'),
  takes: 'text',
  metavar,
  env: false,
  origin: 'regroup',
  group: 'nodes',
  help,
});

/** What torchrun has no words for. How nodes meet is in line/nodes.ts. */
export const nodes: Feature = {
  options: [
    option(
      '--interface',
      'NAME',
      "Network interface, as eth1, whose address other nodes reach this one at: its first one of the endpoint's family. Instead of --local-addr.",
    ),
    option('--nnodes-unit', 'N', 'Rounds have a multiple of N nodes. It divides MAX. Default: 1.'),
    option(
      '--nnodes-set',
      'N,…',
      'The only numbers of nodes that rounds may have, each from MIN to MAX.',
    ),
    option(
      '--spares',
      'N',
      'Nodes that may wait beyond MAX, for one that is lost. Default: any number.',
    ),
    option(
      '--node-group',
      'NAME',
      "What this node is near to, like a rack: the group's nodes have ranks that follow each other. Default: by SLURM_TOPOLOGY_ADDR.",
    ),
    option(
      '--group-size',
      'N',
      'Rounds have a multiple of N nodes of each group, and lose N of one that loses a node. It divides MAX. Default: 1.',
    ),
    option(
      '--strikes',
      'N/TIME',
      'A node whose workers were the root cause of N failures within the time is left out for as long, where the others are enough; or off. Default: 3/10m.',
    ),
    option(
      '--lease',
      'TIME',
      'A node that the others have not heard of for so long is gone, and its workers have been killed by then. Default: 5s.',
    ),
    option(
      '--agent-stall',
      'TIME',
      'An agent whose own event loop stands still for longer gives up its lease. Not with etcd. Default: 1m.',
    ),
    option(
      '--grow-debounce',
      'TIME',
      'From a newcomer on, for others to come, before a live round ends for them. Default: 2s.',
    ),
    option(
      '--return-grace',
      'TIME',
      'For a lost node to come back, before the others go on without it. Default: 100ms.',
    ),
  ],
  read(values, env) {
    const counts = parseNodes(values);
    const sizes = sizesOf(values, counts);
    const spares = readWhole(values, 'spares', 0, 100_000);
    const isStatic = (values.text('rdzv_backend') ?? 'static') === 'static';
    const ownGroup = values.text('node_group');
    const nodeGroup = ownGroup ?? (isStatic ? undefined : groupBySlurm(env));
    if (nodeGroup === '') values.refuse('node_group', 'it has no name', 'a text');
    if (isStatic && ownGroup !== undefined && !counts.isAlone)
      values.refuse(
        'node_group',
        'static ranks are given',
        '--rdzv-backend=c10d beside it, or etcd',
      );
    if ((sizes.groupSize ?? 1) > 1 && nodeGroup === undefined && !counts.isAlone)
      values.refuse('group_size', "this node's group isn't known", '--node-group=NAME beside it');
    const leaseMs = durationOf(values, 'lease');
    const accepted = `a time from ${minLeaseMs}ms to ${maxLeaseMs / 1000}s`;
    if (leaseMs !== undefined && leaseMs < minLeaseMs)
      values.refuse('lease', 'too short for a machine that is busy', accepted);
    if (leaseMs !== undefined && leaseMs > maxLeaseMs)
      values.refuse('lease', 'longer than silent connections last', accepted);
    const agentStallMs = durationOf(values, 'agent_stall');
    if (agentStallMs !== undefined && agentStallMs < minAgentStallMs) {
      const why = 'too short for an agent that is busy';
      values.refuse('agent_stall', why, `a time from ${minAgentStallMs / 1000}s`);
    }
    const growDebounceMs = durationOf(values, 'grow_debounce');
    const returnGraceMs = durationOf(values, 'return_grace');
    const strikes = strikesOf(values);
    const name = values.text('interface');
    if (name !== undefined && (values.text('local_addr') ?? '') !== '')
      values.refuse('interface', '--local-addr says the address already', 'one of the two');
    if (name === '') values.refuse('interface', 'it is empty', 'a name, as eth1');
    if (counts.isAlone) return {};
    return {
      ...sizes,
      ...(name === undefined ? {} : { interface: name }),
      ...(spares === undefined ? {} : { spares }),
      ...(nodeGroup === undefined ? {} : { nodeGroup }),
      ...(strikes === undefined ? {} : { strikes }),
      ...(leaseMs === undefined ? {} : { leaseMs }),
      ...(agentStallMs === undefined ? {} : { agentStallMs }),
      ...(growDebounceMs === undefined ? {} : { growDebounceMs }),
      ...(returnGraceMs === undefined ? {} : { returnGraceMs }),
    };
  },
};

function strikesOf(values: Values): LaunchOptions['strikes'] {
  if (values.text('strikes') === 'off') return 'off';
  const strikes = perTimeOf(values, 'strikes', { orOff: true });
  return strikes === undefined ? undefined : { failures: strikes.count, perMs: strikes.perMs };
}

const sizeOptions = {
  nodesPerUnit: 'nnodes_unit',
  nodesSet: 'nnodes_set',
  groupSize: 'group_size',
} as const;

/** @throws CommandLineError */
function sizesOf(values: Values, { minNodes, maxNodes }: NodeCounts): Partial<LaunchOptions> {
  const nodesPerUnit = readWhole(values, 'nnodes_unit', 1, 100_000);
  const groupSize = readWhole(values, 'group_size', 1, 100_000);
  const set = values.text('nnodes_set');
  if (set !== undefined && !/^\s*\d+\s*(,\s*\d+\s*)*$/.test(set))
    values.refuse('nnodes_set', 'it is no list of numbers', 'N,…, like 2,4,8');
  const given = {
    ...(nodesPerUnit === undefined ? {} : { nodesPerUnit }),
    ...(groupSize === undefined ? {} : { groupSize }),
    ...(set === undefined ? {} : { nodesSet: set.split(',').map(Number) }),
  };
  const problem = sizesProblem({ ...nodesDefaults, ...given, minNodes, maxNodes });
  if (problem !== undefined)
    values.refuse(sizeOptions[problem.option], problem.why, problem.accepted);
  return given;
}

/**
 * The switch or block that Slurm says this node is at: all but the last part of its address. Without a plugin for the
 * topology that has one part, the node's name.
 *
 * @source Slurm 25.05, srun, output environment variables
 */
function groupBySlurm({
  SLURM_TOPOLOGY_ADDR,
  SLURM_TOPOLOGY_ADDR_PATTERN,
}: Env): string | undefined {
  const parts = (SLURM_TOPOLOGY_ADDR ?? '').split('.');
  // Dots of the node's name make no parts.
  const above = (SLURM_TOPOLOGY_ADDR_PATTERN ?? '').split('.').length - 1;
  return parts.slice(0, above).join('.') || undefined;
}
