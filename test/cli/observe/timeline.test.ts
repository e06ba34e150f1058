import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ownRows, type TraceEvent } from '../../../lib/observe/timeline/trace.js';
import { runCli } from '../../harness.js';
import { traceProblems } from '../../observe/timeline/trace-problems.js';

const failsOnce = '[ "$TORCHELASTIC_RESTART_COUNT" = 1 ] || [ "$RANK" = 0 ] || exit 3; exit 0';
const job = ['--standalone', '--nproc-per-node=2', '--max-restarts=1'];

function traceIn(text: string): readonly TraceEvent[] {
  return (JSON.parse(text) as { traceEvents: TraceEvent[] }).traceEvents;
}

t.test(
  '18.7: the timeline of a job that restarts once has both rounds, and the culprit',
  async t => {
    const folder = t.testdir({});
    const [events, trace] = [join(folder, 'events.jsonl'), join(folder, 'trace.json')];
    const begunMs = Date.now();
    const ran = await runCli(t, [
      ...job,
      `--events=${events}`,
      '--no-python',
      'sh',
      '-c',
      failsOnce,
    ]);

    const ended = await runCli(t, ['timeline', events, '--output', trace]);
    const onStdout = await runCli(t, ['timeline', events]);

    t.equal(ran.code, 0);
    t.match(ended, { code: 0, stdout: '', stderr: '' });
    t.equal(onStdout.stdout, readFileSync(trace, 'utf8'));
    const all = traceIn(onStdout.stdout);
    t.strictSame(traceProblems(all), []);
    const on = (tid: number, ph: 'X' | 'i'): string[] =>
      all.filter(event => event.ph === ph && event.tid === tid).map(({ name }) => name);
    const rounds = on(ownRows.rounds, 'X');
    for (const name of ['round 0', 'round 1', 'rendezvous', 'start', 'running'])
      t.ok(rounds.includes(name), name);
    t.equal(rounds.filter(name => name === 'running').length, 2);
    t.strictSame(on(1, 'X'), ['round 0: failed: exited with code 3', 'round 1: succeeded']);
    t.match(on(0, 'X'), [/^round 0: /, 'round 1: succeeded']);
    t.match(on(ownRows.restarts, 'X'), ['restart (failure)', 'noticed', 'stopped']);
    t.match(
      all.filter(({ name }) => name === 'restarting: worker 1 exited with code 3'),
      [{ ph: 'i', args: { culprit: /^worker 1 \(local 1, pid \d+\) on \S/ } }],
    );
    t.ok(on(ownRows.rounds, 'i').includes('ended: succeeded'));
    for (const event of all) {
      if (event.ph === 'M') continue;
      const ms = event.ts / 1000;
      t.ok(ms > begunMs - 3_600_000 && ms < Date.now() + 3_600_000, event.name);
    }
  },
);

t.test('18.7: what is not to be read is one line each, and the rest is drawn', async t => {
  const folder = t.testdir({ empty: '', other: '{}\n', folder: {} });
  const path = (name: string): string => join(folder, name);
  const head = { time: '2026-11-30T22:17:58.968Z', node: 'n', runId: 'r', atMs: 1 };
  const known = JSON.stringify({ ...head, event: 'standbys-taken', round: 1 });
  const later = JSON.stringify({ ...head, event: 'of-later' });
  writeFileSync(path('cut'), `${known}\n${later}\n${known.slice(0, 20)}`);
  const timeline = (...args: readonly string[]) => runCli(t, ['timeline', ...args]);

  const some = await timeline(path('empty'), path('other'), path('cut'));
  const none = await timeline(path('empty'), `--output=${path('out')}`);
  const missing = await timeline(path('cut'), path('nope'), `--output=${path('out')}`);
  const isFolder = await timeline(path('folder'));
  const full = await timeline(path('cut'), '--output=/dev/full');
  const itself = await timeline(path('cut'), `--output=${path('cut')}`);
  const nothing = await timeline();

  t.equal(some.code, 0);
  t.strictSame(traceProblems(traceIn(some.stdout)), []);
  t.strictSame(some.stderr.split('\n'), [
    `regroup timeline: ${path('empty')}: the file is empty`,
    `regroup timeline: ${path('other')}: line 1 is no event of --events, and left out`,
    `regroup timeline: ${path('cut')}: an event of a later release left out: "of-later"`,
    `regroup timeline: ${path('cut')}: the last line is cut off, and left out: its agent was killed, or runs`,
    '',
  ]);
  t.match(none, { code: 1, stdout: '', stderr: /\nregroup timeline: error: no events in \S+\n$/ });
  const error = /^regroup timeline: error: /;
  t.match(missing, { code: 1, stdout: '' });
  t.equal(missing.stderr, `regroup timeline: error: ${path('nope')}: no such file or directory\n`);
  t.notOk(existsSync(path('out')), 'nothing is made where there is no trace');
  t.match(isFolder, { code: 1, stdout: '', stderr: /folder: illegal operation on a directory\n$/ });
  t.match(full, { code: 1, stdout: '', stderr: /\/dev\/full: no space left on device\n$/ });
  t.match(itself, { code: 2, stdout: '', stderr: /--output: it's \S+cut, which is to be read\n$/ });
  t.match(nothing, { code: 2, stdout: '', stderr: error });
  t.match(readFileSync(path('cut'), 'utf8'), known);
});

t.test('its own help; a script of that name is started by its path', async t => {
  const folder = t.testdir({ timeline: 'print("the script")' });

  const help = await runCli(t, ['timeline', '--help']);
  const script = await runCli(t, ['--standalone', './timeline'], { cwd: folder });

  t.match(help, { code: 0, stdout: /^usage: regroup timeline FILE/, stderr: '' });
  t.match(script, { code: 0, stdout: 'the script\n' });
});
