import type { Action, Notice, Policy, Round } from './state.js';

/** The store's notice word (docs/shared-memory.md) when workers should save and end. */
export const checkpointNow = 1;

/** The notice reaches every worker at one moment, by their signal and by the store's word. */
export function noticeActions(
  { policy, round }: Pick<Round, 'policy' | 'round'>,
  notice: Notice,
): Action[] {
  const { preemptSignal: signal, preemptLimitMs: limitMs } = policy;
  return [
    // Workers save in peace: no hang is told, no stacks are taken.
    ...unwatch(policy, round),
    // The word goes first: a handler that reads it must find it there.
    { do: 'set-notice', round, notice: checkpointNow },
    ...(signal === undefined ? [] : [{ do: 'signal-group', round, signal } as const]),
    {
      do: 'tell',
      event: {
        event: 'preempting',
        by: notice.by,
        reaches: 'workers',
        ...(signal === undefined ? {} : { signal }),
        ...(limitMs === undefined ? {} : { limitMs }),
        atMs: notice.atMs,
      },
    },
    ...limitActions(policy, round),
  ];
}

/** Ends the hang rules of a round, as a notice or a stop does. */
export function unwatch({ watchesForHangs }: Policy, round: number): Action[] {
  return watchesForHangs ? [{ do: 'unwatch-round', round }] : [];
}

/** There are no workers to tell, or they are being stopped and save already. */
export function unheardNotice({ by, atMs }: Notice): Action {
  return { do: 'tell', event: { event: 'preempting', by, reaches: 'nobody', atMs } };
}

function limitActions({ preemptLimitMs: afterMs }: Policy, round: number): Action[] {
  return afterMs === undefined ? [] : [{ do: 'arm-preempt-limit', round, afterMs }];
}
