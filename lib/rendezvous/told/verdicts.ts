import type { Told } from '../job/participant.js';
import type { JobVerdict, View } from '../job/shared.js';
import type { LastVerdict, RendezvousEvent } from '../rendezvous.js';
import { failuresOn } from './elsewhere.js';

/** What an agent is told of a job's decisions. Pure. */

type Verdict = Extract<RendezvousEvent, { event: 'verdict' }>;

/** Another round follows the one whose failure the agent has reported. */
export function restartOf(
  { round, ending, spent }: Extract<Told, { tell: 'restart' }>,
  maxRestarts: number,
): Verdict {
  const { delayMs = 0, rule, windowLeft } = ending ?? {};
  return {
    event: 'verdict',
    round,
    verdict: {
      do: 'restart',
      round: round + 1,
      delayMs,
      restartsLeft: maxRestarts - spent,
      maxRestarts,
      ...(rule === undefined ? {} : { rule }),
      ...(windowLeft === undefined ? {} : { windowLeft }),
    },
  };
}

/** The job's end, as agent `self` tells it: with the failures that decided, where they're another's. */
export function lastVerdictOf(verdict: JobVerdict, view: View, self: string): LastVerdict {
  if (verdict.is === 'succeeded') return { do: 'end' };
  const { because, rule, round, agent } = verdict;
  const failures = agent === self ? undefined : failuresOn(view, round, agent);
  return {
    do: 'fail',
    because,
    ...(rule === undefined ? {} : { rule }),
    ...(failures === undefined ? {} : { failures }),
  };
}
