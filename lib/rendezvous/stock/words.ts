import { launchError, RegroupError } from '../../errors.js';
import type { StockSettings } from './moves.js';
import type { ParticipantState } from './participant.js';
import { type Generation, nameOf, type StockState } from './state.js';
import { MalformedState } from './values.js';

/** What people are told of a job among agents of PyTorch. */

const releases: Readonly<Record<Generation, string>> = {
  '1.13': '1.9 to 1.13',
  '2.0': '2.0 to 2.2',
  '2.3': '2.3 to 2.5',
  '2.6': '2.6 or later',
};

/** Releases of PyTorch whose agents write the state so. */
export function releasesOf(generation: Generation): string {
  return releases[generation];
}

/** A node by its name in the state, as people know it. One that isn't such a name stays as it is. */
export function shownNode(name: string): string {
  return name.replace(/^(.*)_(\d+)_\d+$/, '$1 (process $2)');
}

/** Names of those in a round, or towards one. */
export function hereOf(view: StockState | undefined): string[] {
  return [...(view?.participants.keys() ?? []), ...(view?.waiting.keys() ?? [])].sort();
}

export function closedElsewhere(runId: string): string {
  return `the job ${runId} is over, as another agent has told the store: its own workers have failed for good, or it has ended before this node has come; its own output says why. To run it again, start all nodes with another --rdzv-id`;
}

export function noRoundInTime(
  { view, node, generation }: ParticipantState,
  { minNodes, joinTimeoutMs }: StockSettings,
  endpoint: string,
): string {
  const within = `in ${joinTimeoutMs / 1000} s`;
  if (generation === undefined)
    return `there is a store at ${endpoint}, and no agent of torchrun with this --rdzv-id has come to it ${within}`;
  const here = hereOf(view).filter(each => each !== nameOf(node));
  const others = here.length === 0 ? 'no other node' : here.map(shownNode).join(', ');
  return `no round has begun ${within}: ${minNodes} nodes are needed, and beside this one there is ${others}; start the others with the same --rdzv-id and --rdzv-endpoint, or give them more time with --rdzv-conf join_timeout=SECONDS`;
}

export function notUnderstood(endpoint: string, why: string): string {
  return `the state of the job at the store ${endpoint} can't be read: ${why}`;
}

/** @param amongTorchrun it may be that of a node of ours */
export function lostStore(endpoint: string, amongTorchrun: boolean, why: string): string {
  const whose = amongTorchrun
    ? 'with the agent that has had it'
    : 'which an agent of torchrun has had';
  return `the store at ${endpoint} is gone, ${whose}: ${why}`;
}

/** What the store, or what's in it, has ended an agent with. */
export function asPeopleAreTold(
  error: unknown,
  { endpoint, amongTorchrun }: { readonly endpoint: string; readonly amongTorchrun: boolean },
): unknown {
  if (error instanceof MalformedState)
    return launchError('ERR_RENDEZVOUS', [notUnderstood(endpoint, error.message)], error);
  if (error instanceof RegroupError && error.code.startsWith('ERR_STORE_'))
    return launchError(
      'ERR_RENDEZVOUS',
      [lostStore(endpoint, amongTorchrun, error.message)],
      error,
    );
  return error;
}
