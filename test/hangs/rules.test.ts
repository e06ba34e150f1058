import t from 'tap';
import { type HangState, judge, type Observation, watchFrom } from '../../lib/hangs/rules.js';
import type { HangOptions } from '../../lib/options/hangs.js';

const workers = [0, 1].map(rank => ({ rank, localRank: rank, pid: 10 + rank }));

type Look = readonly [atMs: number, ...seen: Observation[]];

/** `rank rule at: message` of each verdict. */
function verdictsOf(rules: HangOptions, looks: readonly Look[]): string[] {
  let state: HangState = watchFrom(rules, workers, 0);
  return looks.flatMap(([atMs, ...seen]) => {
    const judgement = judge(state, seen, atMs);
    state = judgement.state;
    return judgement.verdicts.map(
      ({ worker, rule, message }) => `${worker.rank} ${rule} ${atMs}: ${message}`,
    );
  });
}

const wrote = (localRank: number): Observation => ({ localRank, wrote: true });
const line = (localRank: number, ...matches: string[]): Observation => ({
  localRank,
  wrote: true,
  matches,
});
const expect = (rule?: 'finite' | 'grows'): HangOptions => ({
  expect: { pattern: 'x=(.*)', everyMs: 100, ...(rule === undefined ? {} : { rule }) },
});

type Case = [title: string, rules: HangOptions, looks: readonly Look[], verdicts: string[]];

const cases: Case[] = [
  [
    "pain 16: silence is everybody's, and names the one that wrote last",
    { silenceMs: 100 },
    [[50, wrote(0)], [90, wrote(1)], [189], [190]],
    ['1 silence 190: no worker has written anything for 100 ms; worker 1 was the last'],
  ],
  [
    'one worker that writes is enough',
    { silenceMs: 100 },
    [[90, wrote(0)], [180, wrote(0)], [270]],
    [],
  ],
  [
    'a job that never writes is silent too',
    { silenceMs: 100 },
    [[100]],
    ['0 silence 100: no worker has written anything for 100 ms; none ever has'],
  ],
  [
    'a hang is told once, and again after the worker has moved',
    { silenceMs: 100 },
    [[10, wrote(0)], [110], [200], [300, wrote(0)], [399], [400]],
    [
      '0 silence 110: no worker has written anything for 100 ms; worker 0 was the last',
      '0 silence 400: no worker has written anything for 100 ms; worker 0 was the last',
    ],
  ],
  [
    'a line must recur in each worker that has written one, and in no other',
    expect(),
    [[10, line(0, '')], [109, line(0, '')], [208, wrote(0)], [209]],
    ['0 expect 209: no line like /x=(.*)/ for 100 ms'],
  ],
  [
    'a line that never comes is missed by the group',
    expect(),
    [
      [50, wrote(0)],
      [100, wrote(1)],
    ],
    ['0 expect 100: no line like /x=(.*)/ within 100 ms'],
  ],
  [
    'until the first line, the time for first progress counts',
    { ...expect(), firstProgressMs: 500 },
    [[100], [499, wrote(0)], [500]],
    ['0 first-progress 500: no worker has made any progress within 500 ms'],
  ],
  [
    'any output is progress where no line is expected',
    { firstProgressMs: 50 },
    [[40, wrote(1)], [50]],
    [],
  ],
  [
    'a beat is progress',
    { firstProgressMs: 50 },
    [[40, { localRank: 1, beat: { atMs: 30, step: 0 } }], [50]],
    [],
  ],
  [
    'a value that is not a number is a hang at once',
    expect('finite'),
    [
      [10, line(0, '1.5')],
      [20, line(1, '2', 'nan', '3')],
    ],
    ['1 value 20: the value of /x=(.*)/ is nan'],
  ],
  ['a text is neither NaN nor infinite', expect('finite'), [[10, line(0, 'nanny')], [20]], []],
  [
    'lines whose value does not grow are none',
    expect('grows'),
    [[10, line(0, '7')], [60, line(0, '7')], [90, line(0, '6')], [110]],
    ["0 expect 110: the value of /x=(.*)/ hasn't grown beyond 7 for 100 ms"],
  ],
  [
    'thousands may be grouped',
    expect('grows'),
    [[10, line(0, '999')], [90, line(0, '1,000')], [180]],
    [],
  ],
  [
    'a heartbeat is missed from the beat on, in workers that have beaten',
    { heartbeatMs: 100 },
    [[60, { localRank: 1, beat: { atMs: 40, step: 3 } }], [139], [140]],
    ['1 heartbeat 140: no heartbeat for 100 ms; the last was of step 3'],
  ],
  [
    'F-F05: a client that has been closed ends the rule, until there is another',
    { heartbeatMs: 100 },
    [
      [10, { localRank: 1, beat: { atMs: 5, step: 3 } }],
      [50, { localRank: 1, beat: 'none' }],
      [500, { localRank: 1, beat: 'none' }],
      [510, { localRank: 1, beat: { atMs: 505, step: 4 } }],
      [605, { localRank: 1, beat: { atMs: 505, step: 4 } }],
    ],
    ['1 heartbeat 605: no heartbeat for 100 ms; the last was of step 4'],
  ],
  [
    'F-F13: what could not be seen is unknown: no rule about output ends then',
    { silenceMs: 100, expect: { pattern: 'x=(.*)', everyMs: 100 } },
    [[10, line(0, '')], [110, { localRank: 0, isUnknown: true }], [200], [210]],
    [
      '0 silence 210: no worker has written anything for 100 ms; worker 0 was the last',
      '0 expect 210: no line like /x=(.*)/ for 100 ms',
    ],
  ],
  [
    'F-F13: nor does one about the first progress',
    { firstProgressMs: 100 },
    [[90, { localRank: 1, isUnknown: true }], [189], [190]],
    ['0 first-progress 190: no worker has made any progress within 100 ms'],
  ],
  [
    'a worker that has ended does not hang',
    { silenceMs: 100, heartbeatMs: 50 },
    [
      [10, { localRank: 1, beat: { atMs: 5, step: 3 } }],
      [20, { localRank: 0, ended: true }, { localRank: 1, ended: true }],
      [500],
    ],
    [],
  ],
];

for (const [title, rules, looks, verdicts] of cases) {
  t.test(title, t => {
    t.strictSame(verdictsOf(rules, looks), verdicts);
    t.end();
  });
}

t.test(
  'the next look is at the earliest end of a rule, or a quarter of the shortest one later',
  t => {
    const start = judge(watchFrom({ silenceMs: 400, firstProgressMs: 1000 }, workers, 0), [], 0);
    t.equal(start.nextAtMs, 100);
    t.equal(judge(start.state, [], 350).nextAtMs, 400);
    const ended = workers.map(({ localRank }) => ({ localRank, ended: true }));
    t.equal(judge(start.state, ended, 10).nextAtMs, undefined);
    t.end();
  },
);
