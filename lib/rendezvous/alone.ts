import { emptyLedger, judge, type Ledger, mayRestart } from '../failures/policy.js';
import type { FailurePolicy } from '../options/failures.js';
import { failedRoundOf } from './job/report.js';
import type {
  FailureReport,
  FormedRound,
  Place,
  Rendezvous,
  RendezvousEvent,
  RoundPlan,
  Verdict,
} from './rendezvous.js';

/** This node's place in a job of which it is all. */
export function wholeJob(localWorldSize: number): Place {
  return { groupRank: 0, groupWorldSize: 1, firstRank: 0, worldSize: localWorldSize };
}

/**
 * The rendezvous of a job on one node: every answer comes within the call.
 *
 * @param tell called once for each `join`, `report` and `succeed`
 */
export function createAlone(
  policy: FailurePolicy,
  localWorldSize: number,
  tell: (event: RendezvousEvent) => void,
): Rendezvous {
  const place = wholeJob(localWorldSize);
  let ledger: Ledger = emptyLedger;
  let coming = 0;

  /** Plan of a round. Its restart count is the number of rounds before it, free ones included: attempts have numbers of their own. */
  function planOf(round: number): RoundPlan {
    return { round, restartCount: round, place };
  }

  function formed(): FormedRound {
    const plan = planOf(coming);
    return mayRestart(policy, ledger) ? { ...plan, following: planOf(coming + 1) } : plan;
  }

  function verdictOn(report: FailureReport): Verdict {
    // A stuck process holds what the next round needs, and no signal frees it.
    if (report.isStuck) return { do: 'fail', because: 'node-unfit' };
    const judgement = judge(policy, ledger, failedRoundOf(report));
    if (judgement.do === 'fail') return judgement;
    const { ledger: after, ...restart } = judgement;
    ledger = after;
    coming = report.round + 1;
    const { maxRestarts } = policy;
    return { ...restart, round: coming, restartsLeft: maxRestarts - after.spent, maxRestarts };
  }

  return {
    announce() {},
    join: () => tell({ event: 'round-formed', ...formed() }),
    report: report => tell({ event: 'verdict', round: report.round, verdict: verdictOn(report) }),
    succeed: round => tell({ event: 'verdict', round, verdict: { do: 'end' } }),
    renew(round) {
      coming = round + 1;
      tell({ event: 'round-broken', round, because: 'ordered' });
    },
    leave() {},
    conclude() {},
  };
}
