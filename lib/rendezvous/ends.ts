import type { Coordination } from '../coordination/coordination.js';
import type { WorkerFailure } from '../events.js';
import { victimsForOthers } from './job/report.js';
import { keys, type View } from './job/shared.js';
import { isHopeless } from './table.js';
import { failuresOn } from './told/elsewhere.js';
import { endsOf, tellsEnds } from './told/ends.js';

/** The ends of a failed job's workers: this node tells of its own, and waits a while for the others'. */
export interface Ends {
  /** Tells them of this node's workers, and begins to wait. */
  conclude(failures: readonly WorkerFailure[]): void;
  /** Others may have told theirs, or have gone. */
  look(): void;
  /** Ends the wait: nobody can be asked any more. */
  giveUp(): void;
}

export interface EndsSurroundings {
  readonly coordination: Coordination;
  readonly prefix: string;
  readonly agent: string;
  /** For the others' workers, which get their grace periods. */
  readonly limitMs: number;
  view(): View;
  /** Called once. */
  over(failures: readonly WorkerFailure[]): void;
}

/** Before it's tried again to tell. */
const retryMs = 100;

export function createEnds(around: EndsSurroundings): Ends {
  const { coordination, prefix, agent } = around;
  let limit: NodeJS.Timeout | undefined;
  let isTold = false;
  let isGivenUp = false;
  let isOver = false;

  async function tell(failures: readonly WorkerFailure[]): Promise<void> {
    const view = around.view();
    const verdict = view.verdict?.value;
    const isWanted = verdict?.is === 'failed' && tellsEnds(view);
    if (isWanted && failuresOn(view, verdict.round, agent) === undefined) {
      const key = prefix + keys.ends(verdict.round, agent);
      const value = JSON.stringify(victimsForOthers(failures));
      while (!isOver && !(await isPut(key, value))) {
        await new Promise(resolve => setTimeout(resolve, retryMs));
      }
    }
    isTold = true;
    look();
  }

  async function isPut(key: string, value: string): Promise<boolean> {
    try {
      await coordination.put(key, value);
      return true;
    } catch (error) {
      return isHopeless(error);
    }
  }

  /** Whoever leaves before all have told theirs may serve the table that they tell it in. */
  function look(): void {
    if (limit !== undefined && isTold && endsOf(around.view(), agent).awaited.length === 0) end();
  }

  function end(): void {
    if (isOver || limit === undefined) return;
    isOver = true;
    clearTimeout(limit);
    around.over(endsOf(around.view(), agent).failures);
  }

  return {
    conclude(failures) {
      limit = setTimeout(end, isGivenUp ? 0 : around.limitMs);
      void tell(failures);
    },
    look,
    giveUp() {
      isGivenUp = true;
      end();
    },
  };
}
