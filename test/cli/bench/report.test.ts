import t from 'tap';
import type { Measured } from '../../../lib/cli/bench/measure.js';
import type { BenchOptions } from '../../../lib/cli/bench/options.js';
import { pictureOf } from '../../../lib/cli/bench/picture.js';
import { figuresOf, jsonText, rowsOf, tableText } from '../../../lib/cli/bench/report.js';

const machine = { date: '2026-11-30', cpu: '2 × AMD <EPYC>', kernel: '6.18', node: 'v20.20.2' };
const options: BenchOptions = {
  kinds: ['sigkill', 'exit', 'agent'],
  kills: 3,
  step: /^step/,
  against: ['torchrun'],
  afterMs: 0,
  timeoutMs: 1,
  args: ['train.py'],
};
const measured: readonly Measured[] = [
  {
    launcher: { name: 'regroup', command: ['regroup'], isOurs: true },
    samples: [
      { kind: 'sigkill', totalMs: 120, phases: { noticed: 1, stopped: 10, script: 100 } },
      { kind: 'agent', totalMs: 300 },
      { kind: 'exit', totalMs: 50 },
      { kind: 'sigkill', totalMs: 100, phases: { noticed: 1, stopped: 20, script: 70 } },
      { kind: 'sigkill', totalMs: 110 },
    ],
  },
  {
    launcher: { name: 'torchrun', command: ['torchrun'], isOurs: false },
    samples: [
      { kind: 'sigkill', totalMs: 440 },
      { kind: 'agent', totalMs: 900, left: 2 },
      { kind: 'sigkill', problem: 'it has ended' },
      { kind: 'exit', problem: 'it has ended' },
    ],
  },
];

t.test('quartiles lie between the samples where none is there', async t => {
  t.strictSame(figuresOf([4, 1, 3, 2]), {
    count: 4,
    min: 1,
    q1: 1.75,
    median: 2.5,
    q3: 3.25,
    max: 4,
  });
  t.strictSame(figuresOf([7]), { count: 1, min: 7, q1: 7, median: 7, q3: 7, max: 7 });
});

t.test('the table has a row for each kind and launcher, side by side', async t => {
  const rows = rowsOf(options.kinds, measured);

  t.equal(
    tableText(rows, options, machine),
    `restarts, ms from the kill to the next round's first line like /^step/
2026-11-30, 2 × AMD <EPYC>, Linux 6.18, Node v20.20.2

kill     launcher  n  failed  median  quartiles  min–max
sigkill  regroup   3       0     110    105–115  100–120  0.25 × torchrun
sigkill  torchrun  2       1     440    440–440  440–440
exit     regroup   1       0      50      50–50    50–50
exit     torchrun  1       1       –          –        –
agent    regroup   1       0     300    300–300  300–300  0.33 × torchrun
agent    torchrun  1       0     900    900–900  900–900

sigkill, regroup, medians of the phases: noticed 1 · stopped 15 · script 85
killed, torchrun left 2 processes behind, which were killed
`,
  );
});

t.test('the picture is one file that needs no other, and no text can break it', async t => {
  const picture = pictureOf(rowsOf(options.kinds, measured), machine);

  t.match(picture, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" .*<\/svg>\n$/s);
  t.notMatch(picture, /href|url\(|<script|<EPYC>|NaN/);
  t.equal(picture.match(/fill="#59a869"/g)?.length, 2, 'the script phase, and its name');
  for (const words of ['sigkill, torchrun', '440 ms', 'no step came', 'AMD &lt;EPYC&gt;'])
    t.match(picture, words);
});

t.test('all samples are in the JSON', async t => {
  const rows = rowsOf(options.kinds, measured);

  const parsed = JSON.parse(jsonText(rows, measured, options, machine));

  t.match(parsed, { version: 1, unit: 'ms', machine, job: { step: '^step', args: ['train.py'] } });
  t.strictSame(
    parsed.launchers.map(({ samples }: Measured) => samples),
    measured.map(({ samples }) => samples),
  );
  t.strictSame(parsed.rows, JSON.parse(JSON.stringify(rows)));
});
