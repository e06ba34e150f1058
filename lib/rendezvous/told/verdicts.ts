import type { Told } from '../job/participant.js';
import type { Ending, JobVerdict, View } from '../job/shared.js';
import type { BreakReason, LastVerdict, RendezvousEvent } from '../rendezvous.js';
import { failuresOn } from './elsewhere.js';

/** What an agent is told of a job's decisions. Pure. */

type Verdict = Extract<RendezvousEvent, { event: 'verdict' }>;

export const breakReasons: Readonly<Record<Ending['because'], BreakReason>> = {
  failed: 'peer-failure',
  lost: 'peer-lost',
  left: 'membership',
  growth: 'membership',
};

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
export function lastVerdictOf(verdict: JobVerdict, view: View, self: string): Verdict {
  const round = verdict.is === 'failed' ? verdict.round : 0;
  return { event: 'verdict', round, verdict: endOf(verdict, view, self) };
}

function endOf(verdict: JobVerdict, view: View, self: string): LastVerdict {
  if (verdict.is === 'succeeded') return { do: 'end' };
  const { because, rule, round, agent } = verdict;
  const failures = agent === self ? undefined : failuresOn(view, round, agent);
  return {
    do: 'fail',
    because,
    awaitsPeers: true,
    ...(rule === undefined ? {} : { rule }),
    ...(failures === undefined ? {} : { failures }),
  };
}
