import { readFileSync } from 'node:fs';
import t from 'tap';
import { marks, readLine } from '../../../lib/observe/timeline/records.js';

const head = { time: '2026-11-30T22:17:58.968Z', node: 'n', runId: 'r' };
const used = { ...head, event: 'store-used', round: 0, atMs: 3.5 };

t.test('all events of the schema are known, and no other', async t => {
  const { oneOf } = JSON.parse(readFileSync('schema/events.schema.json', 'utf8')) as {
    oneOf: { properties: { event: { const: string } } }[];
  };

  const published = new Set(oneOf.map(({ properties }) => properties.event.const));
  t.strictSame(Object.keys(marks).sort(), [...published].sort());
});

t.test('a line is an event, or what keeps it from being one', async t => {
  const cases: readonly (readonly [unknown, string])[] = [
    [used, 'record'],
    [{ ...used, more: { of: 'a later release' } }, 'record'],
    [{ ...head, event: 'log-ended', records: 1, lostRecords: 0 }, 'record'],
    [{ ...head, event: 'never-heard-of' }, 'unknown-event'],
    [{ ...head, event: 'toString', atMs: 1 }, 'unknown-event'],
    [{ ...used, atMs: undefined }, 'no-event'],
    [{ ...used, atMs: null }, 'no-event'],
    [{ ...used, round: '0' }, 'no-event'],
    [{ ...used, time: 'yesterday' }, 'no-event'],
    [{ ...used, node: undefined }, 'no-event'],
    [{ ...head, event: 'worker-stuck', worker: { rank: 'x' }, atMs: 1 }, 'no-event'],
    [{ ...head, event: 'round-started', round: 0, rendezvousMs: 1, atMs: 1 }, 'no-event'],
    [{ ...head, event: 'dumped', summary: '', culprit: null, atMs: 1 }, 'no-event'],
    [{ name: 'torchelastic.worker.status.START' }, 'no-event'],
    [[], 'no-event'],
    [null, 'no-event'],
    [7, 'no-event'],
  ];
  for (const [value, is] of cases) t.equal(readLine(JSON.stringify(value)).is, is, String(value));
  for (const text of ['', '{', 'Traceback', '{"time":"2026'])
    t.equal(readLine(text).is, 'no-json', text);
});

t.test('a line behind the begin of one whose agent was killed is read', async t => {
  const whole = JSON.stringify(used);

  const read = readLine(`${whole.slice(0, 40)}${whole}`);

  t.match(read, { is: 'record', isBehindTorn: true, record: used });
  t.match(readLine(whole), { is: 'record', isBehindTorn: false });
  t.match(readLine(`${whole}${whole.slice(0, 40)}`), { is: 'no-json' });
});
