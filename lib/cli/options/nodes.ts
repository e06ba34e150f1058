import { maxLeaseMs, minAgentStallMs, minLeaseMs } from '../../options/nodes.js';
import { durationOf } from '../line/durations.js';
import { parseNodes } from '../line/meeting.js';
import { readWhole } from '../line/whole.js';
import type { Feature, OptionSpec } from './spec.js';

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
    option('--nnodes-unit', 'N', 'Rounds have a multiple of N nodes. It divides MAX. Default: 1.'),
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
  read(values) {
    const { maxNodes, isAlone } = parseNodes(values);
    const nodesPerUnit = readWhole(values, 'nnodes_unit', 1, 100_000);
    if (nodesPerUnit !== undefined && maxNodes % nodesPerUnit !== 0)
      values.refuse('nnodes_unit', `it does not divide ${maxNodes} nodes`, 'a divisor of MAX');
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
    if (isAlone) return {};
    return {
      ...(nodesPerUnit === undefined ? {} : { nodesPerUnit }),
      ...(leaseMs === undefined ? {} : { leaseMs }),
      ...(agentStallMs === undefined ? {} : { agentStallMs }),
      ...(growDebounceMs === undefined ? {} : { growDebounceMs }),
      ...(returnGraceMs === undefined ? {} : { returnGraceMs }),
    };
  },
};
