import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type CliRun, gone, startCli } from '../../harness.js';
import { childrenOf, commandLineOf } from '../../processes.js';

// First rounds that start from standbys, on one node, whose hook before the start is what's waited for. Several nodes: test/cluster/members.

t.setTimeout(600_000);

const script = `
import decimal, os, sys
open("ran", "w").write(str(os.getpid()))
os.write(1, f"ran {os.getpid()} {decimal.Decimal(1)}\\n".encode())  # one write: two workers share the stream
os.read(0, 1)
`;

/** Modules of site-packages: they wait for a writer of the pipe `slow`, and the second then starts a thread. */
const modules = {
  'slow.py': 'open("importing", "w").close()\nopen("slow").read()',
  'spoiled.py':
    'import slow, threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()',
};

interface Job {
  readonly folder: string;
  start(options: readonly string[], args?: readonly string[]): CliRun;
  /** Lets the hook end, or the import. */
  release(pipe: 'hook' | 'slow'): Promise<void>;
}

function jobOf(t: Test): Job {
  const folder = t.testdir({ 'train.py': script, cache: {} });
  const packages = join(folder, 'site-packages');
  mkdirSync(packages);
  for (const [name, text] of Object.entries(modules)) writeFileSync(join(packages, name), text);
  const made = spawnSync('mkfifo', ['hook', 'slow'], { cwd: folder });
  if (made.status !== 0) throw new Error('mkfifo');
  return {
    folder,
    start(options, args = []) {
      const words = [
        '--standalone',
        '--pre-start=read line < hook',
        ...options,
        'train.py',
        ...args,
      ];
      return startCli(t, words, {
        cwd: folder,
        typing: true,
        mayLeave: /^torchelastic_/,
        env: {
          LOGLEVEL: 'INFO',
          PYTHONPATH: packages,
          REGROUP_CACHE_DIR: join(folder, 'cache', 'regroup'),
        },
      });
    },
    async release(pipe) {
      const file = await open(join(folder, pipe), 'w');
      await file.write('go\n');
      await file.close();
    },
  };
}

/** Processes that stand by for that command's workers; those that only show that they wait have `-c`. */
function standbysOf({ pid }: CliRun): number[] {
  return childrenOf(pid).filter(child => {
    try {
      const environ = readFileSync(`/proc/${child}/environ`, 'latin1');
      return environ.includes('\0REGROUP_STANDBY=') && !commandLineOf(child).includes('\0-c\0');
    } catch {
      return false; // gone, as who reads ahead for the imports soon is
    }
  });
}

/** Nothing tells of what strangers write but looking. */
async function exists(folder: string, pattern: RegExp): Promise<void> {
  const has = (): boolean => {
    try {
      return readdirSync(folder).some(name => pattern.test(name));
    } catch {
      return false; // yet
    }
  };
  while (!has()) await sleep(10);
}

async function pidOf(run: CliRun): Promise<number> {
  return Number((await run.line(/^(\[\S+\]:)?ran \d+ 1$/)).split(' ')[1]);
}

t.test('a first round starts from standbys that have imported what is named', async t => {
  const { start, release } = jobOf(t);
  const run = start(['--prestart', '--standby-modules=decimal', '--nproc-per-node=2']);
  await run.line(/ 2 standbys wait for the first round\b/);
  const standbys = standbysOf(run);

  await release('hook');

  const ran = [await pidOf(run), await pidOf(run)];
  t.strictSame(ran.sort(), standbys.sort());
  await run.line(/ round 0 starts from standbys$/);
  run.type('\n\n');
  t.match(await run.ended, { code: 0 });
});

t.test(
  'what an earlier run with the same arguments has kept is known, and nothing else',
  async t => {
    const { folder, start, release } = jobOf(t);
    const learns = start(['--prestart', '--standby-after=0s', '--max-restarts=1']);
    await release('hook');
    await learns.line(/ standbys wait for the next restart\b/);
    await exists(join(folder, 'cache', 'regroup'), /^imports-.*json$/);
    learns.type('\n');
    t.notMatch(await learns.ended, { stdout: /first round/ });
    t.notMatch(learns.stderr(), /first round|round 0 starts from/, 'nobody knew what it imports');

    const knows = start(['--prestart']);
    await knows.line(/ standbys wait for the first round\b/);
    const standbys = standbysOf(knows);
    await release('hook');
    t.strictSame([await pidOf(knows)], standbys);
    knows.type('\n');
    t.match(await knows.ended, { code: 0 });

    const otherwise = start(['--prestart', '--standby-after=0s', '--max-restarts=1'], ['other']);
    await release('hook');
    await otherwise.line(/ standbys wait for the next restart\b/);
    otherwise.type('\n');
    await otherwise.ended;
    t.notMatch(otherwise.stderr(), /first round|round 0 starts from/);
  },
);

t.test(
  'one that imports still when the round starts goes on with that, and runs the script',
  async t => {
    const { folder, start, release } = jobOf(t);
    const run = start(['--prestart', '--standby-modules=decimal,slow']);
    await exists(folder, /^importing$/);
    const standbys = standbysOf(run);

    await release('hook');
    await release('slow');

    t.strictSame([await pidOf(run)], standbys);
    await run.line(/ round 0 starts from standbys$/);
    run.type('\n');
    t.match(await run.ended, { code: 0 });
  },
);

t.test('one whose imports turn out to be no good gives way to a cold worker', async t => {
  const { folder, start, release } = jobOf(t);
  const run = start(['--prestart', '--standby-modules=decimal,spoiled']);
  await exists(folder, /^importing$/);
  const standbys = standbysOf(run);
  await release('hook');
  // Its order is there by then, as a rule; else the round starts cold at once. Nothing tells of it.
  await release('slow');

  const pid = await pidOf(run);

  t.notOk(standbys.includes(pid));
  await run.line(/ start without standby: an import started a Python thread$/);
  run.type('\n');
  t.match(await run.ended, { code: 0 });
  t.ok(await gone(standbys));
});

for (const [how, isParked] of [
  ['parked', true],
  ['importing', false],
] as const) {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    t.test(
      `pain 1: an agent that ends by ${signal} before its first round leaves no standby that is ${how}`,
      async t => {
        const { folder, start } = jobOf(t);
        const run = start([
          '--prestart',
          `--standby-modules=decimal${isParked ? '' : ',slow'}`,
          '--nproc-per-node=2',
        ]);
        if (isParked) await run.line(/ 2 standbys wait for the first round\b/);
        else await exists(folder, /^importing$/);
        const children = childrenOf(run.pid);
        t.ok(standbysOf(run).length > 0);

        run.kill(signal);

        const { code } = await run.ended;
        t.equal(code, signal === 'SIGTERM' ? 1 : null);
        t.ok(await gone(children));
        t.notOk(readdirSync(folder).includes('ran'), 'and no script has run');
      },
    );
  }
}

t.test('a node that waits for nobody starts as ever', async t => {
  const { folder } = jobOf(t);
  const args = ['--standalone', '--prestart', '--standby-modules=slow', 'train.py'];
  const run = startCli(t, args, { cwd: folder, typing: true, env: { LOGLEVEL: 'INFO' } });
  await pidOf(run);
  run.type('\n');
  t.match(await run.ended, { code: 0 });
  t.notMatch(run.stderr(), /standby/);
});
