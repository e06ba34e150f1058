import type { RestartSummary, StoreUsedEvent } from '../../events/restarts.js';
import type { AgentEvent } from '../../events.js';
import type { AgentState, Happening, Step } from '../step/state.js';
import { startClock, summaryOf, tick } from './clock.js';
import { type Moment, momentsOf } from './moments.js';

/** A script that hasn't used the store for so long may never do. */
const scriptPatienceMs = 120_000;

/** Tells how long each restart took, and what all of them have cost. */
export interface Restarts {
  /** Looks at a step, and tells what that shows of a restart. A step that tells a round's start has done so before. */
  note(before: AgentState, happening: Happening, step: Step, nowMs: number): void;
  /** A worker has used the round's store for the first time. It's told behind the round's start. */
  used(round: number, atMs: number): void;
  /** How long the last rendezvous has taken. */
  rendezvousMs(): number;
  /** @returns undefined where no round has followed another one */
  summary(): RestartSummary | undefined;
  close(): void;
}

/** @param seesScript whether the first use of a store that this node serves is told */
export function createRestarts(
  seesScript: boolean,
  { tell, nowMs }: { tell(event: AgentEvent): void; nowMs(): number },
): Restarts {
  let clock = startClock(seesScript);
  let patience: NodeJS.Timeout | undefined;
  let joinedAtMs = 0;
  let rendezvousMs = 0;
  /** The last round whose start is told. */
  let started: number | undefined;
  /** The first use of a store whose round's start isn't told yet: the store's thread may be ahead. */
  let early: StoreUsedEvent | undefined;

  function happen(moment: Moment): void {
    if (moment.what === 'join') joinedAtMs = moment.atMs;
    if (moment.what === 'formed') rendezvousMs = moment.atMs - joinedAtMs;
    const [next, told] = tick(clock, moment);
    clock = next;
    clearTimeout(patience);
    for (const event of told) tell(event);
    const { restart } = clock;
    const { round } = restart ?? {};
    if (restart?.phase !== 'script' || round === undefined) return;
    patience = setTimeout(() => happen({ what: 'unused', round, atMs: nowMs() }), scriptPatienceMs);
    // The workers keep Node alive.
    patience.unref();
  }

  function onRoundStarted(round: number): void {
    started = round;
    if (early?.round === round) tell(early);
    early = undefined;
  }

  return {
    note(before, happening, step, now) {
      for (const action of step[1])
        if (action.do === 'tell' && action.event.event === 'round-started')
          onRoundStarted(action.event.round);
      for (const moment of momentsOf(before, happening, step, now)) happen(moment);
    },
    used(round, atMs) {
      const event = { event: 'store-used', round, atMs } as const;
      if (started !== undefined && round <= started) tell(event);
      else early = event;
      happen({ what: 'used', round, atMs });
    },
    rendezvousMs: () => rendezvousMs,
    summary: () => summaryOf(clock, nowMs()),
    close: () => clearTimeout(patience),
  };
}
