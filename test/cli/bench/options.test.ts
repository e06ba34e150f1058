import t from 'tap';
import { parseBench } from '../../../lib/cli/bench/options.js';

const job = ['--', '--nproc-per-node=2', 'train.py'];

t.test('what is left away has a default', async t => {
  t.strictSame(parseBench(['restart', ...job]), {
    do: 'run',
    options: {
      kinds: ['sigkill'],
      kills: 5,
      afterMs: 5000,
      timeoutMs: 300_000,
      args: ['--nproc-per-node=2', 'train.py'],
    },
  });
});

t.test('all can be said, and what comes behind -- is the job, whatever it looks like', async t => {
  const args = [
    ...['--kill=agent,sigkill,exit', '--kills=3', '--step', 'step \\d+', '--after=0'],
    ...['--against', 'python -m torch.distributed.run', '--timeout=90s'],
    ...['--svg=a.svg', '--json=a.json'],
  ];

  const parsed = parseBench(['restart', ...args, '--', '--kills=9', 'a.py', '--', '--help']);

  t.strictSame(parsed, {
    do: 'run',
    options: {
      kinds: ['sigkill', 'exit', 'agent'],
      kills: 3,
      step: /step \d+/,
      against: ['python', '-m', 'torch.distributed.run'],
      afterMs: 0,
      timeoutMs: 90_000,
      svg: 'a.svg',
      json: 'a.json',
      args: ['--kills=9', 'a.py', '--', '--help'],
    },
  });
});

t.test('help is asked for in any of three ways', async t => {
  for (const args of [[], ['--help'], ['restart', '--help', ...job]])
    t.strictSame(parseBench(args), { do: 'help' });
});

const wrong: readonly (readonly [args: readonly string[], why: RegExp])[] = [
  [['start', ...job], /^there is no benchmark start \(accepted: restart\)$/],
  [['restart'], /^the job is missing: options and script, behind '--'$/],
  [['restart', '--'], /^the job is missing/],
  [['restart', 'train.py'], /^unexpected 'train\.py': the job comes behind '--'$/],
  [['restart', '--kil=sigkill', ...job], /^unknown option --kil; did you mean --kill\?$/],
  [['restart', '--kill=sigterm', ...job], /^--kill=sigterm: there is no sigterm \(accepted: sig/],
  [['restart', '--kill=', ...job], /^--kill=: there is no ''/],
  [['restart', '--kills=0', ...job], /^--kills=0: not a number of kills \(accepted: 1 to 1000\)$/],
  [['restart', '--kills=1e3', ...job], /^--kills=1e3: not a number/],
  [['restart', '--kills=1001', ...job], /^--kills=1001: not a number/],
  [['restart', '--kills', ...job], /--kills/],
  [['restart', '--step=(', ...job], /^--step: Invalid regular expression/],
  [['restart', '--step=', ...job], /^--step: an empty pattern fits every line$/],
  [['restart', '--against=torchrun', ...job], /^--against needs --step: /],
  [['restart', '--against= ', '--step=a', ...job], /^--against: a command is missing$/],
  [['restart', '--after=soon', ...job], /^--after=soon: not a time \(accepted: a time like /],
  [['restart', '--timeout=0', ...job], /^--timeout=0: not a time/],
];

for (const [args, why] of wrong) {
  t.test(`regroup bench ${args.join(' ')} is refused in one line`, async t => {
    const parsed = parseBench(args);

    t.match(parsed, { do: 'refuse', why });
    t.notMatch(parsed, { why: /\n/ });
  });
}
