import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { native } from '../../../lib/native/addon.js';
import {
  type CliRun,
  commandPath,
  type Ended,
  isAlive,
  startCli,
  startProgram,
} from '../../harness.js';
import { childrenOf, commandLineOf } from '../../processes.js';
import { ready } from './ready.js';

// Two hundred jobs.
t.setTimeout(850_000);

/**
 * Every way in which an agent or a worker may end, with every kind of worker that's hard to get rid
 * of: whatever it is, nothing is left, and what was written is there. The harness fails a test
 * that leaves a process or a file.
 */

const torments = resolve('test/fixtures/torments.py');
const terminal = resolve('test/fixtures/terminal.py');
const workers = 2;

const isWhole = (process.env.REGROUP_DISABLE ?? '') === '';
const modes = isWhole ? ['', 'cgroup'] : [''];
/** Each other one by itself; a run of all the tests without them all is another part of CI. */
const features = isWhole
  ? Object.keys(native().features([])).filter(feature => !modes.includes(feature))
  : [];
const kinds = ['loaders', 'daemons', 'deaf', 'stopped', 'traced', 'vfork'] as const;

/** For the restart that never comes. */
const standbys = [
  '--max-restarts=1',
  '--standby=auto',
  '--standby-after=0s',
  '--standby-modules=json',
];

interface Victim {
  readonly run: CliRun;
  readonly logs: string;
  readonly pids: readonly number[];
  readonly cookie: string;
  readonly guardian: number;
}

interface Way {
  readonly name: string;
  /** Ends the agent. */
  readonly end: (victim: Victim) => void | Promise<void>;
  readonly expect: Partial<Ended>;
  readonly args?: readonly string[];
  readonly onTerminal?: boolean;
  /** A worker of kind `daemons` has a hundred; in other ways, which end alike, twenty. */
  readonly isCrowded?: boolean;
}

const ways: readonly Way[] = [
  {
    name: 'the agent is killed',
    isCrowded: true,
    end: ({ run }) => run.kill('SIGKILL'),
    expect: { code: null, signal: 'SIGKILL' },
  },
  {
    name: 'the agent crashes',
    end: ({ run }) => run.kill('SIGSEGV'),
    expect: { code: null, signal: 'SIGSEGV' },
  },
  {
    name: 'the agent is stopped, then killed',
    end: ({ run }) => {
      run.kill('SIGSTOP');
      run.kill('SIGKILL');
    },
    expect: { code: null, signal: 'SIGKILL' },
  },
  {
    name: 'the agent gets SIGTERM, and SIGKILL before its grace period is over, as by `docker stop`',
    args: ['--shutdown-timeout=600'],
    end: async ({ run, pids }) => {
      run.kill('SIGTERM');
      await run.line(/death signal/);
      // Some die of SIGTERM, and the command with the last of them.
      if (pids.some(isAlive)) run.kill('SIGKILL');
    },
    expect: {},
  },
  {
    name: 'the grace period ends',
    isCrowded: true,
    args: ['--shutdown-timeout=0'],
    end: ({ run }) => run.kill('SIGTERM'),
    expect: { code: 1, signal: null },
  },
  {
    name: 'Ctrl-C comes twice',
    args: ['--shutdown-timeout=600'],
    end: async ({ run }) => {
      run.kill('SIGINT');
      await run.line(/death signal/);
      // Within 100 ms it would count as the same one.
      await sleep(150);
      run.kill('SIGINT');
    },
    expect: { code: 1, signal: null },
  },
  {
    name: 'the terminal is closed',
    args: ['--shutdown-timeout=0'],
    onTerminal: true,
    end: ({ run }) => run.type(),
    expect: {},
  },
];

for (const mode of modes) {
  t.test(mode === '' ? 'all features' : `without ${mode}`, async t => {
    for (const kind of kinds) {
      for (const way of ways) {
        t.test(`pain 1: workers of kind ${kind}: ${way.name}`, async t => {
          await endsAll(t, kind, mode, way);
        });
      }
    }
  });
}

t.test('with standbys', async t => {
  for (const [row, way] of ways.entries()) {
    const kind = kinds[row % kinds.length] ?? 'deaf';
    t.test(`pain 1: standbys beside workers of kind ${kind}: ${way.name}`, async t => {
      const args = [...(way.args ?? []), ...standbys];
      const victim = await start(t, kind, '', { ...way, args });
      await victim.run.line(/ 2 standbys wait for the next restart/);
      const children = childrenOf(parentOf(victim.pids[0] ?? 0));

      await way.end(victim);

      t.match(await victim.run.ended, way.expect);
      await nothingIsLeft(t, { ...victim, pids: [...victim.pids, ...children] });
    });
  }
});

for (const [row, feature] of features.entries()) {
  t.test(`without ${feature}`, async t => {
    for (const [column, kind] of kinds.entries()) {
      // Each feature with each kind, and with nearly each way.
      const way = ways[(row + column) % ways.length];
      if (way === undefined) throw new Error('no way');
      t.test(`pain 1: workers of kind ${kind}: ${way.name}`, async t => {
        await endsAll(t, kind, feature, way);
      });
    }
  });
}

for (const kind of kinds) {
  t.test(`pain 13: a worker fails beside one of kind ${kind}: the report names it`, async t => {
    const logs = t.testdir();
    const run = startCli(
      t,
      [...argsOf(logs, ['--shutdown-timeout=0']), '--no-python', 'sh', '-c', failBeside(kind)],
      { typing: true },
    );
    const victim = await watch(run, logs, workers);

    run.type('go\n');

    const ended = await run.ended;
    t.match(ended, { code: 1, stderr: /Root Cause[\s\S]*rank +: 0[\s\S]*exitcode +: 3/ });
    await nothingIsLeft(t, victim);
  });
}

async function endsAll(t: Test, kind: string, mode: string, way: Way): Promise<void> {
  const victim = await start(t, kind, mode, way);

  await way.end(victim);

  t.match(await victim.run.ended, way.expect);
  await nothingIsLeft(t, victim);
}

function failBeside(kind: string): string {
  const python = process.env.REGROUP_PYTHON ?? 'python3';
  return `[ $RANK = 0 ] && exec ${python} ${torments} fails; exec ${python} ${torments} ${kind}`;
}

function argsOf(logs: string, more: readonly string[] = []): string[] {
  // To the console as well, for `ready`; its lines are shown by one thread, whole.
  return ['--standalone', `--nproc-per-node=${workers}`, `--log-dir=${logs}`, '--tee=3', ...more];
}

async function start(t: Test, kind: string, mode: string, way: Way): Promise<Victim> {
  const logs = t.testdir();
  mkdirSync(logs, { recursive: true });
  const args = [...argsOf(logs, way.args), torments, kind, way.isCrowded ? '100' : '20'];
  const options = {
    // Which tells of standbys.
    env: { LOGLEVEL: 'INFO', ...(mode === '' ? {} : { REGROUP_DISABLE: mode }) },
    under: ['prlimit', '--core=0'],
    typing: true,
  };
  const run = way.onTerminal
    ? startProgram(t, ['python3', terminal, commandPath(), ...args], options)
    : startCli(t, args, options);
  return watch(run, logs, workers);
}

async function watch(run: CliRun, logs: string, count: number): Promise<Victim> {
  const { pids, cookie } = await ready(run, count);
  const agent = parentOf(pids[0] ?? 0);
  const guardian = childrenOf(agent).find(pid => commandLineOf(pid).startsWith('regroup-guardian'));
  if (guardian === undefined) throw new Error('there is no guardian');
  return { run, logs, pids, cookie, guardian };
}

async function nothingIsLeft(t: Test, { logs, pids, cookie, guardian }: Victim): Promise<void> {
  // Nothing tells of a stranger's end but looking. The test's time limit bounds it; what's left
  // elsewhere is found by the harness.
  while ([...pids, guardian].some(isAlive) || cgroupsOf(cookie).length > 0) await sleep(10);

  const files = readdirSync(logs, { recursive: true, encoding: 'utf8' });
  const outputs = files.filter(path => path.endsWith('stdout.log'));
  t.equal(outputs.length, workers);
  for (const path of outputs) {
    const lines = readFileSync(join(logs, path), 'utf8').split('\n');
    t.equal(lines.filter(line => line.startsWith('line ')).length, 1000, 'logs are complete');
    t.match(lines.at(-2), /^ready /, 'to the last byte');
  }
}

/** Folders of cgroups, of any controller, that bear the round's name. */
function cgroupsOf(cookie: string): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const roots = mounts.filter(line => / - cgroup2? /.test(line)).map(line => line.split(' ')[4]);
  return roots.flatMap(root =>
    attempt(() => readdirSync(root ?? '', { recursive: true, encoding: 'utf8' }), []).filter(
      path => path.includes(cookie) && !path.includes(`${cookie}/`),
    ),
  );
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** Cgroups come and go while they're listed. */
function attempt<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    return otherwise;
  }
}
