import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import {
  type Ended,
  type Launch,
  type Launcher,
  regroupLauncher,
  torchLauncher,
} from './launchers.js';
import { releases, root, type Torch, torchOrSkip } from './torch.js';

// The failure report of the same failing command under real torchrun and under regroup, byte for byte but for
// pids, the time of day and the random parts of paths.

interface Scenario extends Omit<Launch, 'kind'> {
  readonly shows: string;
  /** Lists what 1.13 does not, or crashes it. */
  readonly only?: 'newest';
  readonly timeDiffers?: true;
}

const fixture = (name: string) => join(root, 'test/fixtures', name);
const ends = fixture('ends.py');
const errorFile = fixture('writes_error_file.py');
const recorded = join(root, 'test/interop/records_error.py');
const errorText = (message: unknown, more: object = {}) => JSON.stringify({ message, ...more });
/** Two workers that write error files of different times: rank 0's is the later one. */
const byRank = 'import json, os, sys; r = int(os.environ["RANK"]); ';

const shortFolder = mkdtempSync('/tmp/');
t.teardown(() => rmSync(shortFolder, { recursive: true }));

const scenarios: readonly Scenario[] = [
  { shows: 'L-082 exit code 3', args: [ends, '3'] },
  { shows: 'L-082 exit code 255', args: [ends, '255'] },
  { shows: 'L-084 death by SIGSEGV', args: [ends, '-11'] },
  { shows: 'L-084 death by SIGKILL', args: [ends, '-9'] },
  { shows: 'L-126 death by a signal without a name', args: [ends, '-36'], only: 'newest' },
  {
    shows: 'L-088 survivors that were terminated',
    args: ['--nproc_per_node=3', ends, '3', 'wait', 'wait'],
    only: 'newest',
  },
  {
    shows: 'L-109 another that fails by itself in the same second',
    args: ['--nproc_per_node=3', ends, '4', 'term:5', 'wait'],
    only: 'newest',
  },
  { shows: 'L-053 the last of several attempts', args: ['--max_restarts=2', ends, '3'] },
  {
    shows: 'L-085 an error file with a text',
    args: [errorFile, errorText('first line\nsecond line', { timestamp: '1700000000' })],
  },
  {
    shows: 'L-085 an error file with a text and no time',
    args: [errorFile, errorText('it broke')],
    // That is when its worker ended; torchrun has it in 1970, and so always as the root cause.
    timeDiffers: true,
  },
  {
    shows: 'L-085 an error file with an empty text',
    args: [errorFile, errorText('', { timestamp: 1700000000 })],
  },
  {
    shows: 'L-081 an error file with a traceback',
    args: [
      errorFile,
      errorText({
        message: 'ValueError: boom',
        extraInfo: {
          py_callstack: 'Traceback:\n  File "x"\nValueError: boom\n',
          timestamp: '1700000000',
        },
      }),
    ],
  },
  {
    shows: 'L-081 an error file without a traceback',
    args: [errorFile, errorText({ message: 'a\nb', extraInfo: { timestamp: '1700000000' } })],
  },
  {
    shows: 'L-081 an error file with neither',
    args: [errorFile, errorText({ extraInfo: { timestamp: 1700000000 } })],
  },
  { shows: 'L-081 an exception under @record', args: [recorded, 'boom'] },
  {
    shows: 'L-081 an exception with text beyond ASCII under @record',
    args: [recorded, 'größe 🙂\n  two'],
  },
  {
    shows: 'L-083 a narrow report',
    // The folder's name leaves its lines shorter than the longest rule.
    args: [
      '--rdzv_id=j',
      `--log_dir=${shortFolder}`,
      errorFile,
      errorText('short', { timestamp: 1 }),
    ],
  },
  { shows: 'L-082 a program', args: ['--no_python', 'sh', '-c', 'exit 4'] },
  { shows: 'L-082 a program by its path', args: ['--no_python', '/bin/sh', '-c', 'kill -TERM $$'] },
  {
    shows: 'L-082 a module',
    args: ['-m', 'ends', '6'],
    env: { PYTHONPATH: dirname(ends) },
  },
  { shows: 'L-082 a module that is missing', args: ['-m', 'no_such_module'] },
  {
    shows: 'L-042 the interpreter of PYTHON_EXEC',
    args: [ends, '3'],
    env: { PYTHON_EXEC: '/usr/bin/false' },
  },
  {
    shows: 'L-092 a function entrypoint that exits',
    args: ['--run_path', ends, '5'],
    only: 'newest',
  },
  {
    shows: 'L-089 error files whose times disagree with the order of the ends',
    args: [
      '--nproc_per_node=2',
      '--no_python',
      'python3',
      '-c',
      `${byRank}
import signal
def end(*_):
    sys.exit(7)
with open(os.environ["TORCHELASTIC_ERROR_FILE"], "w") as f:
    json.dump({"message": f"rank {r}", "timestamp": [1700000009, 1700000001][r]}, f)
# Rank 0 ends first, but not before rank 1 has written its file.
signal.signal(signal.SIGTERM, end)
with open(os.environ["READY"], "r" if r == 0 else "w") as f:
    f.read() if r == 0 else None
signal.pause() if r == 1 else end()`,
    ],
    only: 'newest',
  },
];

for (const release of releases) {
  t.test(
    `failure reports are torchrun's (${release}), byte for byte`,
    { jobs: release === '1.13' ? 1 : 2 },
    async t => {
      const torch = torchOrSkip(t, release);
      if (!torch) return;

      const launchers = { torchrun: torchLauncher(t, torch), regroup: regroupLauncher(torch) };
      // 1.13 has fixed ports, which two jobs at a time would both want.
      const known = scenarios.filter(({ only }) => only === undefined || only === release);
      await Promise.all(
        known.map(scenario =>
          t.test(scenario.shows, async t => {
            const folder = t.testdir({});
            const theirs = await fail(t, join(folder, 'torchrun'), launchers.torchrun, scenario);
            const ours = await fail(t, join(folder, 'regroup'), launchers.regroup, scenario);

            const [our, their] = [reportOf(ours, torch), reportOf(theirs, torch)];
            const hide = (report: string) => report.replaceAll(/time {6}: .*/g, 'time      : T');
            t.equal(
              scenario.timeDiffers ? hide(our) : our,
              scenario.timeDiffers ? hide(their) : their,
            );
            t.equal(failedLine(ours), failedLine(theirs), 'the line before it');
          }),
        ),
      );

      t.test('L-087 the launcher’s own error file gets the root cause', async t => {
        const folder = t.testdir({});
        const scenario = { shows: '', args: [recorded, 'boom'] };
        const theirs = await fail(t, join(folder, 'torchrun'), launchers.torchrun, scenario);
        const ours = await fail(t, join(folder, 'regroup'), launchers.regroup, scenario);

        t.strictSame(ours.ownErrorFile, theirs.ownErrorFile);
        t.match(ours.ownErrorFile, { message: { errorCode: 1 } });
      });
    },
  );
}

interface Failed extends Ended {
  /** What the launcher wrote for a launcher above it. */
  readonly ownErrorFile: unknown;
}

async function fail(
  t: Test,
  folder: string,
  launcher: Launcher,
  scenario: Scenario,
): Promise<Failed> {
  mkdirSync(folder, { recursive: true });
  execFileSync('mkfifo', [join(folder, 'ready')]);
  const own = join(folder, 'own.json');
  const ended = await launcher(folder, {
    ...scenario,
    kind: 'run',
    args: [
      '--monitor_interval=0.05',
      `--master_port=${29630 + scenarios.indexOf(scenario)}`,
      ...scenario.args,
    ],
    env: {
      READY: join(folder, 'ready'),
      TORCHELASTIC_ERROR_FILE: own,
      OMP_NUM_THREADS: '1',
      ...scenario.env,
    },
  });

  t.equal(ended.code, 1);
  const text = existsSync(own) ? readFileSync(own, 'utf8') : 'null';
  return {
    ...ended,
    ownErrorFile: JSON.parse(text.replace(/"timestamp": ?"\d+"/, '"timestamp": "0"')),
  };
}

/** From its first line to its last: behind that there's nothing but the summary, ours. */
function reportOf({ stderr }: Ended, torch: Torch): string {
  const start = stderr.lastIndexOf(
    'torch.distributed.elastic.multiprocessing.errors.ChildFailedError',
  );
  if (start < 0) return `no report in\n${stderr}`;
  const text = stderr
    .slice(start)
    .replace(/(?<=\n=+\n)(regroup: .*\n)+$/, '')
    .replaceAll(/\(pid: \d+\)/g, '(pid: P)')
    .replaceAll(/by PID \d+/g, 'by PID P')
    // Only what was stamped now: times of error files must be shown alike.
    .replaceAll(/time {6}: (\d{4})-.*/g, (line, year) =>
      Number(year) < 2025 ? line : 'time      : T',
    )
    .replaceAll(
      /error_file: \S*\/torchelastic_\S{8}\/\S+\/attempt_/g,
      'error_file: TEMP/RUN/attempt_',
    )
    .replaceAll(/_[a-z0-9_]{8}\/attempt_/g, '_********/attempt_');
  // 1.13 says nothing after the pid; since then there's a blank, and a signal's name.
  return torch.release === '1.13' ? text.replaceAll(/(\(pid: P\)).*/g, '$1') : text;
}

/** Its source and time are the logger's; the words are what people grep. */
function failedLine({ stderr }: Ended): string | undefined {
  return /failed \(exitcode: .*/.exec(stderr)?.[0].replace(/\(pid: \d+\)/, '(pid: P)');
}
