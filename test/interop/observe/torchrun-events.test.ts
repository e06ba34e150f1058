import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type Ended, type Launcher, regroupLauncher, torchLauncher } from '../launchers.js';
import { releases, root, torchOrSkip } from '../torch.js';

// torchrun's own events of the same command line by its handler and by ours, line by line.

const fixture = (name: string) => join(root, 'test/fixtures', name);
const ends = fixture('ends.py');

interface Case {
  readonly shows: string;
  readonly args: readonly string[];
  /** 1.13 does not list survivors: L-088. */
  readonly only?: 'newest';
}

const cases: readonly Case[] = [
  { shows: 'L-093 L-095: a run that succeeds', args: ['--nproc_per_node=2', ends, '0'] },
  {
    shows: 'L-094: a run that fails',
    args: ['--nproc_per_node=2', '--max_restarts=1', ends, '3', 'wait'],
    only: 'newest',
  },
  { shows: 'L-093: a death by a signal', args: ['--role=trainer', ends, '-9'] },
  {
    shows: 'L-093: an error file',
    args: [join(root, 'test/interop/records_error.py'), 'größe 🙂\n  two'],
  },
  { shows: 'L-093: a program', args: ['--no_python', 'sh', '-c', 'exit 4'] },
];

for (const release of releases) {
  t.test(`events of PyTorch ${release}`, async t => {
    const torch = torchOrSkip(t, release);
    if (torch === undefined) return;
    const temp = mkdtempSync(join(tmpdir(), 'regroup-events-'));
    t.teardown(() => rmSync(temp, { recursive: true, force: true }));
    const theirs = torchLauncher(t, torch);
    const ours = regroupLauncher(torch);

    for (const [number, { shows, args, only }] of cases.entries()) {
      if (only === 'newest' && release === '1.13') continue;
      const run = (launcher: Launcher, whose: string, handler: readonly string[]) => {
        const folder = join(temp, `${number}-${whose}`);
        mkdirSync(folder);
        const job = ['--standalone', '--rdzv_id=J', '--monitor_interval=0.05', ...handler];
        const ready = join(folder, 'ready');
        execFileSync('mkfifo', [ready]);
        const env = { OMP_NUM_THREADS: '1', EVENTS_ON_STDERR: '1', READY: ready };
        return launcher(folder, { kind: 'run', args: [...job, ...args], env });
      };
      const console = ['--event-log-handler=console'];
      // 1.13 has no such option: its only handler is made to write there.
      const them = await run(theirs, 'theirs', release === '1.13' ? [] : console);
      const us = await run(ours, 'ours', console);

      await t.test(shows, async t => {
        const expected = eventsOf(them, release);
        t.ok(expected.length > 0, them.stderr);
        t.strictSame(eventsOf(us, release), expected);
      });
    }
  });
}

type Fields = Record<string, unknown>;

/** What differs from run to run is replaced, and from our newest form what that release doesn't have left away. */
function eventsOf({ stderr }: Ended, release: (typeof releases)[number]): string[] {
  const lines = stderr.split('\n').filter(line => line.startsWith('{"name": "torchelastic.'));
  const workers: unknown[] = [];
  return lines.flatMap(line => {
    const event = JSON.parse(line) as Fields & { metadata: Fields };
    const metadata = { ...event.metadata };
    const inner = JSON.parse(metadata.metadata as string) as Fields;
    const isOld = release === '1.13';
    if (isOld && ['RENDEZVOUS', 'ASSIGN_WORKER_RANKS', 'START'].includes(metadata.state as string))
      return [];
    for (const name of isOld ? ['exit_code', 'worker_pid'] : []) delete inner[name];
    if (isOld) delete metadata.duration_ms;
    if (metadata.worker_id !== null && !workers.includes(metadata.worker_id))
      workers.push(metadata.worker_id);
    const numbered = (pid: unknown): unknown =>
      typeof pid === 'number' || typeof pid === 'string'
        ? `pid ${workers.indexOf(String(pid))}`
        : pid;
    const { worker_pid: pids } = inner;
    if (Array.isArray(pids)) inner.worker_pid = pids.map(numbered);
    const same: Fields = {
      ...metadata,
      // --standalone gives its own in some releases.
      run_id: 'J',
      worker_id: numbered(metadata.worker_id),
      total_run_time: typeof metadata.total_run_time,
      duration_ms: typeof metadata.duration_ms,
      raw_error:
        typeof metadata.raw_error === 'string'
          ? metadata.raw_error
              .replace(/"timestamp": "\d+"/g, '"timestamp": "T"')
              .replace(isOld ? /, "errorTraits": \{[^}]*\}/ : '', '')
          : metadata.raw_error,
      metadata: inner,
    };
    return [JSON.stringify({ ...event, metadata: same })];
  });
}
