import { execFileSync } from 'node:child_process';
import { closeSync, constants, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { EventRecord } from '../../../lib/events/recorder.js';
import { runCli, startCli } from '../../harness.js';
import { muteDisk, noMuteDisk } from '../../mute-disk.js';
import { schemaProblems } from '../../observe/schema.js';

const failsOnce = '[ "$TORCHELASTIC_RESTART_COUNT" = 1 ] || [ "$RANK" = 0 ] || exit 3; exit 0';

function job(...flags: readonly string[]): string[] {
  return ['--standalone', '--nproc-per-node=2', ...flags, '--no-python', 'sh', '-c'];
}

/** Lines of a file, each of which is what the schema says. */
function records(t: Test, path: string): EventRecord[] {
  const lines = readFileSync(path, 'utf8').split('\n');
  t.equal(lines.pop(), '', 'the last line is whole');
  const all = lines.map(line => JSON.parse(line) as EventRecord);
  for (const record of all) t.strictSame(schemaProblems(record), [], record.event);
  return all;
}

t.test('18.1: --events appends each event as a line, and at last how the run ended', async t => {
  const folder = t.testdir({});
  const path = join(folder, 'run-x.jsonl');
  const flags = ['--max-restarts=1', '--role=x', `--events=${folder}/run-\${role_name}.jsonl`];

  const ended = await runCli(t, [...job(...flags), failsOnce]);
  const again = await runCli(t, [...job(...flags), 'exit 4']);

  t.match([ended.code, again.code], [0, 1]);
  const all = records(t, path);
  const kinds = all.map(({ event }) => event);
  const first = kinds.slice(0, kinds.indexOf('log-ended') + 1);
  for (const kind of ['round-started', 'worker-exited', 'restarting', 'restarted', 'ended'])
    t.ok(first.includes(kind as 'ended'), kind);
  t.equal(first.filter(kind => kind === 'round-started').length, 2);
  const [succeeded, failed] = all.filter(({ event }) => event === 'log-ended');
  t.match(succeeded, { records: first.length - 1, lostRecords: 0, runId: String });
  t.match(succeeded, { result: { outcome: 'succeeded', restarts: { restarts: 1 } } });
  t.match(failed, { result: { outcome: 'failed', rootCause: { exitcode: 4 } } });
  const times = all.map(({ time }) => Date.parse(time));
  t.ok(times.every(ms => Math.abs(ms - Date.now()) < 3_600_000));
});

t.test('18.1: the folder of the logs keeps what it is to keep', async t => {
  const logDir = t.testdir({});
  const flags = [`--log-dir=${logDir}`, '--events=logs', '--event-log-handler=file'];

  const ended = await runCli(t, [...job(...flags), 'exit 0']);
  const temporary = await runCli(t, [...job('--events=logs'), 'exit 0'], {
    mayLeave: /^torchelastic_/,
  });

  t.match([ended.code, temporary.code], [0, 0]);
  const [run = ''] = execFileSync('ls', [logDir], { encoding: 'utf8' }).split('\n');
  t.match(records(t, join(logDir, run, 'events.jsonl')).at(-1), { event: 'log-ended' });
  const theirs = readFileSync(join(logDir, run, 'torchelastic_events.jsonl'), 'utf8');
  t.match(theirs.trimEnd().split('\n').at(-1), /status.SUCCEEDED", "source": "AGENT"/);
});

t.test('18.1: what cannot be kept without a folder is refused beforehand', async t => {
  const ended = await runCli(t, [...job('--log-dir=/dev/null', '--events=logs'), 'exit 0']);

  t.equal(ended.code, 1);
  t.match(ended.stderr, /--log-dir: "\/dev\/null" is not accepted; give a folder: records/);
});

t.test('18.1: a file that takes nothing is one line, and the job is as without', async t => {
  const folder = t.testdir({});
  const fifo = join(folder, 'nobody');
  const mute = join(folder, 'mute');
  for (const path of [fifo, mute]) execFileSync('mkfifo', [path]);
  // Somebody has it open, and doesn't read.
  const reader = openSync(mute, constants.O_RDONLY | constants.O_NONBLOCK);
  t.teardown(() => closeSync(reader));
  const cases = [
    ['/dev/full', /events can't be recorded in \/dev\/full: ENOSPC/],
    [`${folder}/no/where`, /events can't be recorded in \S+\/no\/where: ENOENT/],
    [folder, /events can't be recorded in \S+: EISDIR/],
    [fifo, /events can't be recorded in \S+\/nobody: nobody reads the pipe/],
    // It has room for so few.
    [mute, undefined],
  ] as const;

  for (const [path, line] of cases) {
    const ended = await runCli(t, [...job('--max-restarts=1', `--events=${path}`), failsOnce]);

    t.equal(ended.code, 0, path);
    const said = ended.stderr.split('\n').filter(each => /events can't/.test(each));
    if (line === undefined) t.strictSame(said, []);
    else t.match(said, [line]);
    t.equal(said.length, line === undefined ? 0 : 1);
  }
});

t.test('18.1: a pipe gets the lines while somebody reads it', async t => {
  const fifo = join(t.testdir({}), 'fifo');
  execFileSync('mkfifo', [fifo]);
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  t.teardown(() => closeSync(reader));

  const ended = await runCli(t, [...job(`--events=${fifo}`), 'exit 0']);

  t.equal(ended.code, 0);
  const lines = readFileSync(reader, 'utf8').trimEnd().split('\n');
  t.match(JSON.parse(lines.at(-1) ?? ''), { event: 'log-ended', lostRecords: 0 });
});

t.test(
  '18.1: a dead disk under the file holds up neither workers nor the end',
  { skip: noMuteDisk },
  async t => {
    const { folder, mount } = muteDisk(t);
    const disk = join(folder, 'disk');
    execFileSync('mkdir', [disk]);
    const asked = await mount(disk);

    const run = startCli(t, [...job(`--events=${disk}/events.jsonl`), 'exit 0']);
    await asked();
    const ended = await run.ended;

    t.equal(ended.code, 0);
    t.match(ended.stderr, /events can't be recorded in \S+events.jsonl: it takes nothing/);
  },
);

t.test(
  'L-093: --event-log-handler=console writes to stderr; null, as by default, nothing',
  async t => {
    const [console, none] = await Promise.all([
      runCli(t, [...job('--event-log-handler=console'), 'exit 0']),
      runCli(t, [...job('--event-log-handler=null'), 'exit 0']),
    ]);

    t.match([console.code, none.code], [0, 0]);
    const states = console.stderr
      .split('\n')
      .filter(line => line.startsWith('{'))
      .map(line => (JSON.parse(line) as { metadata: { state: string } }).metadata.state);
    t.strictSame(states, [
      ...['RENDEZVOUS', 'ASSIGN_WORKER_RANKS', 'START', 'START'],
      ...['SUCCEEDED', 'SUCCEEDED', 'SUCCEEDED'],
    ]);
    t.notMatch(none.stderr, /torchelastic/);
    t.notOk(existsSync('torchelastic_events.jsonl'));
  },
);
