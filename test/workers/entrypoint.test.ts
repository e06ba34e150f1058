import t from 'tap';
import type { Entrypoint } from '../../lib/options/launch-options.js';
import { argvOf, commandOf } from '../../lib/workers/entrypoint.js';

const python = { path: '/usr/bin/python3', isInterpreter: true, because: 'python3 on PATH' };
const options = { args: ['x', '--flag'], python, passLocalRankArg: false, shim: () => '/shim.py' };

t.test('L-041 L-046 L-047 each kind of entrypoint has its argv and its name in the report', t => {
  const cases: [Entrypoint, string[], string][] = [
    [
      { script: 'a/train.py' },
      ['/usr/bin/python3', '-u', 'a/train.py', 'x', '--flag'],
      'a/train.py',
    ],
    [
      { module: 'pkg.main' },
      ['/usr/bin/python3', '-u', '-m', 'pkg.main', 'x', '--flag'],
      'pkg.main',
    ],
    [{ program: 'bash' }, ['bash', 'x', '--flag'], 'bash'],
    [
      { runPath: '/a/train.py' },
      ['/usr/bin/python3', '-u', '/shim.py', '/a/train.py', 'x', '--flag'],
      'run_script_path',
    ],
  ];
  for (const [entrypoint, argv, name] of cases) {
    const command = commandOf(entrypoint, options);
    t.strictSame(argvOf(command, 0), argv);
    t.equal(command.name, name);
    t.equal(command.isFunction, 'runPath' in entrypoint);
  }
  t.end();
});

t.test('L-042 PYTHON_EXEC replaces the interpreter and names the failure', t => {
  const command = commandOf(
    { script: 'train.py' },
    {
      ...options,
      python: { path: '/bin/echo', isInterpreter: false, because: 'PYTHON_EXEC' },
    },
  );
  t.strictSame(argvOf(command, 0), ['/bin/echo', '-u', 'train.py', 'x', '--flag']);
  t.equal(command.name, '/bin/echo');
  t.end();
});

t.test('L-044 the local rank goes right behind the script where it is asked for', t => {
  const cases: [Entrypoint, string[]][] = [
    [{ script: 's.py' }, ['/usr/bin/python3', '-u', 's.py', '--local-rank=3', 'x', '--flag']],
    [{ module: 'm' }, ['/usr/bin/python3', '-u', '-m', 'm', '--local-rank=3', 'x', '--flag']],
  ];
  for (const [entrypoint, argv] of cases) {
    t.strictSame(argvOf(commandOf(entrypoint, { ...options, passLocalRankArg: true }), 3), argv);
  }
  t.end();
});

t.test(
  'L-043 $local_rank is replaced in every argument and in the script; other dollars stay',
  t => {
    const cases = [
      ['a${local_rank}b', 'a7b'],
      ['--x=$local_rank', '--x=7'],
      ['$$ $RANK ${foo}', '$ $RANK ${foo}'],
      ['$local_rank_', '$local_rank_'],
      ['$local_rank-', '7-'],
      ['$LOCAL_RANK ${Local_Rank}', '$LOCAL_RANK ${Local_Rank}'],
      ['$$local_rank', '$local_rank'],
      ['$$$local_rank', '$7'],
      ['${local_rank', '${local_rank'],
      ['${ local_rank}', '${ local_rank}'],
      ['$', '$'],
      ['100$', '100$'],
      ['$1 $é', '$1 $é'],
      ['${toString} $constructor', '${toString} $constructor'],
      ['$local_ranké', '7é'],
    ] as const;
    for (const [arg, expected] of cases) {
      const command = commandOf({ program: arg }, { ...options, args: [arg] });
      t.strictSame(argvOf(command, 7).slice(1), [expected]);
    }
    const script = commandOf({ script: '${local_rank}.py' }, options);
    t.equal(argvOf(script, 7)[2], '7.py');
    t.end();
  },
);

t.test('no Python is an error that says where it was looked for', t => {
  t.throws(() => commandOf({ script: 's.py' }, { ...options, python: undefined }), {
    code: 'ERR_NO_PYTHON',
    message: /PYTHON_EXEC.*virtualenv.*PATH/,
  });
  t.doesNotThrow(() => commandOf({ program: 'true' }, { ...options, python: undefined }));
  t.end();
});
