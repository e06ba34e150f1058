import t from 'tap';
import { leftOut } from '../../../lib/cli/timeline/left-out.js';
import { linesOf } from '../../../lib/cli/timeline/lines.js';
import { readLine } from '../../../lib/observe/timeline/records.js';

const head = '"time":"2026-11-30T22:17:58.968Z","node":"n","runId":"r"';
const used = `{${head},"event":"store-used","round":0,"atMs":3}`;
const later = (name: string): string => `{${head},"event":"${name}","atMs":3}`;

/** What's said of a file that has these lines. */
function wordsOf(text: string): readonly string[] {
  const left = leftOut();
  const lines = text.split('\n');
  lines.forEach((each, i) => {
    const isWhole = i < lines.length - 1;
    if (isWhole || each !== '')
      left.note({ text: each, number: i + 1, isWhole, isTooLong: false }, readLine(each));
  });
  return left.words();
}

t.test('what a file has besides events is told, a line for each kind', async t => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    [`${used}\n${used}\n`, []],
    [`${used}\n${used}`, []],
    ['', ['the file is empty']],
    [`${used}\n{"time`, ['the last line is cut off, and left out: its agent was killed, or runs']],
    [`${used}\n{"time\n${used}\n`, ['line 2 is no JSON, and left out']],
    ['x\n\n{"time\n', ['line 1 and 2 more are no JSON, and left out']],
    [`{}\n${used}\n`, ['line 1 is no event of --events, and left out']],
    [`${later('new')}\n`, ['an event of a later release left out: "new"']],
    [
      `${later('new')}\n${later('newer')}\n${later('new')}\n`,
      ['3 events of a later release left out: "new", "newer"'],
    ],
    [`{"time${used}\n`, ['the begin of line 1 is cut off, and left out']],
    [
      `{${head},"event":"log-ended","records":1,"lostRecords":4}\n`,
      ['4 events were lost while it was written'],
    ],
  ];
  for (const [text, words] of cases) t.strictSame(wordsOf(text), words, text);
});

t.test('lines are read in pieces, and one without an end is not kept', async t => {
  const long = 'x'.repeat(400_000);
  const folder = t.testdir({ file: `a\n\n${long}\nb\n${long}${long}\nc` });
  const seen: string[] = [];
  for await (const lines of linesOf(`${folder}/file`, 500_000))
    for (const { number, text, isWhole, isTooLong } of lines)
      seen.push(`${number} ${text.slice(0, 3)} ${text.length} ${isWhole} ${isTooLong}`);

  t.strictSame(seen, [
    '1 a 1 true false',
    '2  0 true false',
    '3 xxx 400000 true false',
    '4 b 1 true false',
    '5  0 true true',
    '6 c 1 false false',
  ]);
});
