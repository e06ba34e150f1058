import t from 'tap';
import { newestBeat } from '../../lib/hangs/beats.js';
import type { NativeStoreSlot } from '../../lib/native/store.js';

const workers = [0, 1].map(rank => ({ rank, localRank: rank, pid: 10 + rank }));
const [zero] = workers;

const slot = (pid: number, rank: number, beatAtMs: number, beats = 1): NativeStoreSlot => ({
  pid,
  rank,
  beats,
  beatAtMs,
  step: beatAtMs,
  phase: 0,
});

const cases: [title: string, slots: NativeStoreSlot[], beat: number | 'none'][] = [
  [
    'F-F05: the newest beat of all clients of a process',
    [slot(10, 0, 5), slot(10, 0, 9), slot(10, 0, 7)],
    9,
  ],
  [
    'F-F05: a helper that the worker has started beats for it by its rank',
    [slot(10, 0, 5), slot(77, 0, 8)],
    8,
  ],
  ['another worker that gives a wrong rank does not', [slot(10, 0, 5), slot(11, 0, 8)], 5],
  ['nor does a helper of another', [slot(10, 0, 5), slot(77, 1, 8)], 5],
  ['a client that has never beaten says nothing', [slot(10, 0, 5), slot(10, 0, 0, 0)], 5],
  ['none is left where all are closed', [slot(11, 1, 5)], 'none'],
];

for (const [title, slots, expected] of cases) {
  t.test(title, t => {
    const beat = zero && newestBeat(slots, zero, workers);
    t.equal(beat === 'none' ? beat : beat?.atMs, expected);
    t.end();
  });
}
