import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import t, { type Test } from 'tap';
import { runCli } from '../../harness.js';

// Feature 22: limits of each worker. What isn't asked for is as the agent's own.

const printsLimits = resolve('test/fixtures/prints_limits.py');

/** What this worker says of itself. */
async function lines(t: Test, args: readonly string[]): Promise<readonly string[]> {
  const ended = await runCli(t, ['--standalone', ...args, printsLimits]);
  t.equal(ended.code, 0, ended.stderr);
  return ended.stdout.trim().split('\n');
}

t.test('a worker has the limits that it was given', async t => {
  const limits = [
    '--rlimit=nofile=200:300,core=0,memlock=65536:',
    '--nice=7',
    '--ionice=idle',
    '--oom-score-adj=900',
    '--umask=027',
  ];
  const [core, locked, files, ...rest] = [...(await lines(t, limits))].sort();

  t.equal(core, 'Max core file size 0 0 bytes');
  t.match(locked, /^Max locked memory 65536 \S+ bytes$/);
  t.equal(files, 'Max open files 200 300 files');
  t.same(rest, ['nice 7', 'oom_score_adj 900', 'priority 7', 'umask 0o27']);
});

t.test('a worker without limits of its own has those of the agent', async t => {
  const own = spawnSync('python3', [printsLimits], { encoding: 'utf8' });
  const told = own.stdout.trim().split('\n');
  const inherited = (each: string) => !each.startsWith('Max open files'); // Node has raised its own

  t.same((await lines(t, [])).filter(inherited), told.filter(inherited));
});

t.test(
  'a limit above the hard one is refused, with the limit, the hard one and what to do',
  async t => {
    // fs.nr_open ends it, even for root.
    const ended = await runCli(t, ['--standalone', '--rlimit=nofile=unlimited', printsLimits]);

    t.equal(ended.code, 1);
    t.equal(ended.stdout, '');
    t.match(
      ended.stderr,
      /worker 0 could not start: rlimits nofile=unlimited:unlimited, where the hard limit is \d+: operation not permitted; only CAP_SYS_RESOURCE/,
    );
  },
);
