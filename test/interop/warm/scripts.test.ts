import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type CliRun, startCli } from '../../harness.js';
import { childrenOf } from '../../processes.js';
import { root } from '../torch.js';
import { here } from './standby.js';

// Scripts that nobody here has written restart warm, launched as ever but for `--standby=auto`, and come to what they come to cold.

t.setTimeout(900_000);

type Prepared = { readonly path?: string; readonly problem?: string };
const { prepareAccelerate, prepareLightning } = (await import(
  join(root, 'scripts/python.mjs')
)) as Record<'prepareAccelerate' | 'prepareLightning', () => Prepared>;

interface Theirs {
  readonly prepare: () => Prepared;
  /** Behind the launcher's own arguments. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** What it says in the middle of its training. */
  readonly trains: RegExp;
  /** What it comes to, of rank 0's output. */
  readonly comesTo: RegExp;
  /** Whether it says itself that this is right; else it's compared with a cold run's. */
  readonly isChecked: boolean;
  /** What standbys have to import of it. */
  readonly module: string;
}

const theirs: Readonly<Record<string, Theirs>> = {
  "accelerate's test of a training": {
    prepare: prepareAccelerate,
    args: ['-m', 'accelerate.test_utils.scripts.test_script'],
    env: { ACCELERATE_USE_CPU: 'true' },
    trains: /Training integration test/,
    comesTo: /^Training yielded the same results .*$/gm,
    isChecked: true,
    module: 'accelerate',
  },
  "Lightning's example of a transformer": {
    prepare: prepareLightning,
    args: [join(here, 'theirs/lightning_transformer.py')],
    env: {
      PL_TRAINER_ACCELERATOR: 'cpu',
      PL_TRAINER_STRATEGY: 'ddp',
      PL_TRAINER_DEVICES: '2',
      PL_TRAINER_LIMIT_VAL_BATCHES: '1',
      PL_TRAINER_LIMIT_TEST_BATCHES: '2',
    },
    trains: /Epoch 1\b/,
    comesTo: /test_loss\W+[\d.]+/g,
    isChecked: false,
    module: 'lightning',
  },
};

for (const [title, script] of Object.entries(theirs)) {
  t.test(title, async t => {
    const { path: python, problem } = script.prepare();
    if (python === undefined) return t.plan(0, `it can't be had: ${problem}`);
    const folder = t.testdir({ data: { 'wikitext-2.txt': text() } });

    if (!script.isChecked) {
      const cold = start(t, script, { python, folder, name: 'cold', flags: [] });
      t.match(await cold.ended, { code: 0 });
    }
    const flags = ['--standby=auto'];
    const warm = start(t, script, { python, folder, name: 'warm', flags });
    await warm.line(script.trains);
    const victim = rankOne(warm);
    // It dies in the middle, but not before there are standbys.
    process.kill(victim, 'SIGSTOP');
    await warm.line(/2 standbys wait for the next restart/);
    process.kill(victim, 'SIGKILL');
    await warm.line(/round 1 starts from standbys/);
    const ended = await warm.ended;

    t.equal(ended.code, 0, ended.stderr);
    // Other jobs may have had the machine's tasks wait for memory meanwhile.
    t.notMatch(ended.stderr, /restart without standby: (?!tasks wait for memory)/);
    const result = outputOf(folder, 'warm', 1).match(script.comesTo) ?? [];
    t.not(result.length, 0, 'it comes to something');
    if (!script.isChecked)
      t.strictSame([...result], [...(outputOf(folder, 'cold', 0).match(script.comesTo) ?? [])]);
    t.ok(keptModules(folder).includes(script.module), 'it was learned what it imports');
  });
}

function start(
  t: Test,
  { args, env }: Theirs,
  how: { python: string; folder: string; name: string; flags: readonly string[] },
): CliRun {
  const { python, folder, name, flags } = how;
  mkdirSync(join(folder, name));
  const launcher = ['--standalone', '--nproc-per-node=2', '--max-restarts=1'];
  return startCli(t, [...flags, ...launcher, ...args], {
    cwd: folder,
    env: {
      ...env,
      PYTHON_EXEC: python,
      OMP_NUM_THREADS: '1',
      HF_HOME: folder,
      LOGLEVEL: 'INFO',
      PYTHONWARNINGS: 'ignore',
      REGROUP_CACHE_DIR: join(folder, 'cache'),
      PET_STANDBY_AFTER: '5s',
      PET_LOG_DIR: join(folder, name),
      PET_TEE: '3',
    },
  });
}

/** A worker, and no standby. */
function rankOne(run: CliRun): number {
  const found = childrenOf(run.pid).find(pid => {
    const environ = environOf(pid);
    return environ.includes('RANK=1') && !environ.some(each => each.startsWith('REGROUP_STANDBY'));
  });
  if (found === undefined) throw new Error(`no rank 1:\n${run.stderr()}`);
  return found;
}

/** Nothing of one that has ended meanwhile, such as the interpreter that shows that it parks. */
function environOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
  } catch {
    return [];
  }
}

/** What rank 0 has printed in a round. */
function outputOf(folder: string, name: string, attempt: number): string {
  const [run = ''] = readdirSync(join(folder, name));
  return readFileSync(join(folder, name, run, `attempt_${attempt}/0/stdout.log`), 'utf8');
}

function keptModules(folder: string): readonly string[] {
  const cache = join(folder, 'cache');
  const [list] = existsSync(cache) ? readdirSync(cache) : [];
  if (list === undefined) return [];
  return (JSON.parse(readFileSync(join(cache, list), 'utf8')) as { modules: string[] }).modules;
}

/** A text for the transformer: 4,040 sequences, of which it tests and validates by 4,000. */
function text(): string {
  const words = Array.from({ length: 4041 * 35 }, (_, at) => `w${(at * at) % 53}`);
  return words.join(' ');
}
