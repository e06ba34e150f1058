import { launchError } from '../errors.js';
import type { ParticipantState } from '../rendezvous/job/state.js';
import { holderOfRank } from '../rendezvous/told/elsewhere.js';
import { rankTaken } from '../rendezvous/words.js';

/** Refuses a second agent of one rank, in a job whose ranks are given. */
export interface GivenRank {
  /** What this node knows of the others may have changed. */
  look(state: ParticipantState): void;
  close(): void;
}

/** A lease that isn't renewed any more is over by then, with what it takes to be told so. */
const marginMs = 2_000;

export function createGivenRank(
  { nodeRank, leaseMs }: { readonly nodeRank: number; readonly leaseMs: number },
  refused: (error: unknown) => void,
): GivenRank {
  /** One on this node, which may have been killed a moment ago. */
  let suspect: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let hasLease = false;
  let isClosed = false;

  function acquit(): void {
    clearTimeout(timer);
    suspect = undefined;
  }

  return {
    look(state) {
      if (isClosed) return;
      ({ hasLease } = state);
      const holder = state.local.is === 'over' ? undefined : holderOfRank(state);
      if (holder?.isHere !== true || holder.agent !== suspect) acquit();
      if (holder === undefined) return;
      const refuse = (): void =>
        refused(launchError('ERR_RENDEZVOUS', [rankTaken(nodeRank, holder)]));
      const wait = (): void => {
        // Whoever hears nothing doesn't hear that a lease is over, either.
        timer = setTimeout(() => (hasLease ? refuse() : wait()), leaseMs + marginMs);
      };
      if (!holder.isHere) return refuse();
      if (suspect !== undefined) return;
      suspect = holder.agent;
      wait();
    },
    close() {
      isClosed = true;
      acquit();
    },
  };
}
