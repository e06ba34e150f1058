import { CoordinationError } from '../coordination/coordination.js';
import { launchError } from '../errors.js';
import { nodesDefaults } from '../options/nodes.js';
import { isLoopback } from '../util/address.js';
import { leastSize } from './job/choose.js';
import type { Settings, View } from './job/shared.js';
import type { ParticipantState } from './job/state.js';
import { isForlorn } from './job/write.js';
import type { RankHolder } from './told/elsewhere.js';

/** What people are told of a rendezvous that doesn't come about. */

export function refusal(theirs: Settings, ours: Settings): string {
  if (theirs.version !== ours.version)
    return `the job was started by another version of regroup (table ${theirs.version}, and ours is ${ours.version}); give all nodes the same version`;
  return `the job was started with ${say(theirs)}, and this node with ${say(ours)}; give all nodes the same, or another --rdzv-id`;
}

function say(settings: Settings): string {
  const { minNodes, maxNodes, nodesPerUnit, nodesSet, groupSize, leaseMs, spares } = settings;
  return [
    `--nnodes ${minNodes === maxNodes ? minNodes : `${minNodes}:${maxNodes}`}`,
    ...(nodesPerUnit === 1 ? [] : [`--nnodes-unit ${nodesPerUnit}`]),
    ...(nodesSet.length === 0 ? [] : [`--nnodes-set ${nodesSet.join(',')}`]),
    ...(groupSize === 1 ? [] : [`--group-size ${groupSize}`]),
    ...(leaseMs === nodesDefaults.leaseMs ? [] : [`--lease ${leaseMs}ms`]),
    ...(spares === undefined ? [] : [`--spares ${spares}`]),
  ].join(' ');
}

/** Why there's no round after so long. @param address that others reach this node at */
export function noRound(state: ParticipantState, afterMs: number, address = ''): string {
  if (isForlorn(state)) return forlorn(afterMs);
  const words = tooFew(state.view, state.options.settings, afterMs);
  return isLoopback(address)
    ? `${words}; agents on other machines need an endpoint that they reach this one at: localhost is each machine's own`
    : words;
}

/** Who came, and that it wasn't enough. */
export function tooFew(view: View, settings: Settings, afterMs: number): string {
  const { groupSize } = settings;
  const members = [...view.members.values()].map(({ value }) => value);
  const nodes = members.map(({ node }) => node).sort();
  const busy = members.filter(({ state }) => state.is !== 'waiting').map(({ node }) => node);
  if (busy.length > 0)
    return `workers of ${busy.join(', ')} have not ended in ${afterMs / 1000} s, and a round can't begin beside them; a limit for what saves is --preempt-limit, and --shutdown-timeout for the rest`;
  const came = nodes.length === 0 ? 'none' : `${nodes.length} (${nodes.join(', ')})`;
  const whole = groupSize === 1 ? '' : `, ${groupSize} or a multiple of each group`;
  return `${leastSize(settings)} nodes are needed${whole}, and ${came} came in ${afterMs / 1000} s; start the others with the same --rdzv-id and --rdzv-endpoint, or give them more time with --rdzv-conf join_timeout=SECONDS`;
}

/** What one is told that waits beside a round and all its spares. */
export function tooMany({ maxNodes, spares = 0 }: Settings, afterMs: number): string {
  return `the job has had its ${maxNodes} nodes and ${spares} spares for ${afterMs / 1000} s, and this node is one too many; give all nodes a higher --spares, or start fewer of them`;
}

/** Two agents of a job whose ranks are given have the same one. */
export function rankTaken(nodeRank: number, { node, isHere }: RankHolder): string {
  return isHere
    ? `node rank ${nodeRank} is already that of another agent on this node, which goes on; give each agent another --node-rank, or end the other one first`
    : `node rank ${nodeRank} is ${node}'s already; give each node another --node-rank`;
}

/** The job has ended while a node was cut off. */
export const missed =
  'the job has ended while this node could not reach the others: nothing of it is left where they met, and they know how it ended';

/** Nobody has come back whom this node was with, and the table with their round is gone. */
function forlorn(afterMs: number): string {
  return `this node was cut off, what the nodes meet at has been started anew since, and no other node has come there in ${afterMs / 1000} s: the job has ended, or goes on elsewhere; alone this node begins no other. To run it again, start all nodes with another --rdzv-id`;
}

export function unreachable(afterMs: number): string {
  return `the server of the rendezvous could not be reached for ${afterMs / 1000} s; is the node that has it gone, or its process?`;
}

/** What an engine says, as people are told. */
export function asRendezvousError(error: unknown): unknown {
  if (!(error instanceof CoordinationError)) return error;
  return launchError('ERR_RENDEZVOUS', [error.message], error);
}
