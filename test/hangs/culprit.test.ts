import t from 'tap';
import type { HangRule } from '../../lib/events.js';
import { culpritOf, type Suspect } from '../../lib/hangs/culprit.js';
import type { Place } from '../../lib/hangs/stacks.js';

const collective: Place = { name: 'all_reduce', at: 'c10d.py:7', state: 'waits' };
const loader: Place = { name: 'next_batch', at: 'train.py:29' };
const futex: Place = { name: 'futex_do_wait' };
const pipe: Place = { name: 'pipe_read' };
const stopped: Place = { name: 'a stopped process', state: 'stopped' };

/** By rank: where it is, whether a rule has found it, and when it moved last. */
type Told = readonly [place: Place | undefined, found: boolean | HangRule, movedMs?: number];

function suspects(told: readonly Told[]): Suspect[] {
  return told.map(([place, found, movedMs], rank) => ({
    worker: { rank, localRank: rank, pid: 100 + rank },
    place,
    found: typeof found === 'string' ? found : found ? ('expect' as const) : undefined,
    movedMs,
  }));
}

const cases: [title: string, told: Told[], rank: number, because?: string][] = [
  [
    'F-F12: the one that is in no collective, though all hang by the rule',
    [
      [collective, true, 100],
      [loader, true, 100],
    ],
    1,
    "it's in next_batch (train.py:29) while rank 0 waits in a collective",
  ],
  [
    'F-U4: also where the rule found the only one that prints',
    [
      [collective, true, 100],
      [loader, false],
    ],
    1,
    "it's in next_batch (train.py:29) while rank 0 waits in a collective",
  ],
  [
    'one that has shown a wrong value, wherever the others are',
    [
      [collective, 'value', 100],
      [loader, false, 50],
    ],
    0,
  ],
  [
    'a stopped process',
    [
      [futex, true, 100],
      [stopped, true, 200],
    ],
    1,
    'its whole process is stopped',
  ],
  [
    'the one that is not where most are',
    [
      [futex, true, 50],
      [pipe, true, 100],
      [futex, true, 100],
    ],
    1,
    "it's in pipe_read while most are in futex_do_wait",
  ],
  [
    'of several that are in no collective the one that moved least recently',
    [
      [collective, true, 10],
      [loader, true, 90],
      [pipe, true, 80],
    ],
    2,
    "it's in pipe_read while rank 0 waits in a collective",
  ],
  [
    'a rank of which nobody knows anything is not blamed for that',
    [
      [undefined, true, 10],
      [collective, true, 90],
      [loader, true, 80],
    ],
    2,
    "it's in next_batch (train.py:29) while rank 1 waits in a collective",
  ],
  [
    'where stacks do not tell, of those that the rules have found the one that moved least recently',
    [
      [futex, true, 100],
      [pipe, true, 90],
      [undefined, false, 10],
    ],
    1,
  ],
  [
    'where all are alike, as well',
    [
      [collective, true, 100],
      [collective, true, 90],
    ],
    1,
  ],
  [
    'one that never moved is not blamed for printing nothing',
    [
      [futex, true, 100],
      [pipe, false],
    ],
    0,
  ],
];

for (const [title, told, rank, because] of cases) {
  t.test(title, t => {
    const culprit = culpritOf(suspects(told));

    t.equal(culprit?.worker.rank, rank);
    t.equal(culprit?.because, because);
    t.end();
  });
}

t.test('where nobody lives there is none', t => {
  t.equal(culpritOf([]), undefined);
  t.end();
});
