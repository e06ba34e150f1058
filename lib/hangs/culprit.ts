import type { HangRule, WorkerIdentity } from '../events.js';
import { describePlace, type Place } from './stacks.js';

/** Which of the workers that don't get on keeps the others waiting; pure. */

export interface Suspect {
  readonly worker: WorkerIdentity;
  readonly place: Place | undefined;
  /** The rule that has found it; absent if none has. */
  readonly found: HangRule | undefined;
  /** When it did last what the rule is about; absent: never. */
  readonly movedMs: number | undefined;
}

export interface Culprit {
  readonly worker: WorkerIdentity;
  /** `it's in next_batch (train.py:12) while …`; absent where the stacks don't tell them apart. */
  readonly because?: string;
}

/**
 * Who has shown a wrong value, whatever the others do. Else who differs from them by the stacks: is stopped, is in no
 * collective while others are, or isn't where most are. Else the rules' own finding counts, and of several the one that
 * moved least recently: most scripts' victims write until they wait.
 */
export function culpritOf(suspects: readonly Suspect[]): Culprit | undefined {
  const [wrong] = inOrder(suspects.filter(({ found }) => found === 'value'));
  if (wrong !== undefined) return { worker: wrong.worker };

  const stopped = suspects.filter(({ place }) => place?.state === 'stopped');
  if (stopped.length > 0 && stopped.length < suspects.length)
    return blame(stopped, () => 'its whole process is stopped');

  const known = suspects.filter(({ place }) => place !== undefined);
  const waiting = known.filter(({ place }) => place?.state === 'waits');
  const others = known.filter(({ place }) => place?.state !== 'waits');
  if (waiting.length > 0 && others.length > 0)
    return blame(others, where => `it's in ${where} while ${ranksOf(waiting)} in a collective`);

  const most = majorityOf(known);
  const odd = known.filter(({ place }) => place?.name !== most);
  if (most !== undefined && odd.length > 0)
    return blame(odd, where => `it's in ${where} while most are in ${most}`);

  const named = suspects.filter(({ found }) => found !== undefined);
  const [first] = inOrder(named.length > 0 ? named : suspects);
  return first && { worker: first.worker };
}

function blame(
  candidates: readonly Suspect[],
  why: (where: string) => string,
): Culprit | undefined {
  const [first] = inOrder(candidates);
  if (first === undefined) return undefined;
  const { worker, place } = first;
  return { worker, because: why(place === undefined ? 'nobody knows what' : describePlace(place)) };
}

/** Sorts suspects: who moved least recently comes first, then who never did but was found by a rule. */
function inOrder(suspects: readonly Suspect[]): Suspect[] {
  const rankOf = ({ found }: Suspect): number => (found === undefined ? 1 : 0);
  return [...suspects].sort(
    (one, other) =>
      (one.movedMs ?? Number.MAX_VALUE) - (other.movedMs ?? Number.MAX_VALUE) ||
      rankOf(one) - rankOf(other) ||
      one.worker.rank - other.worker.rank,
  );
}

/** The place of more than half. */
function majorityOf(suspects: readonly Suspect[]): string | undefined {
  const counts = new Map<string, number>();
  for (const { place } of suspects)
    if (place !== undefined) counts.set(place.name, (counts.get(place.name) ?? 0) + 1);
  return [...counts].find(([, count]) => count > suspects.length / 2)?.[0];
}

function ranksOf(suspects: readonly Suspect[]): string {
  const [first] = suspects;
  return suspects.length === 1
    ? `rank ${first?.worker.rank} waits`
    : `${suspects.length} ranks wait`;
}
