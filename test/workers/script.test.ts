import t from 'tap';
import { type ScriptSource, scriptProblem } from '../../lib/workers/script.js';

const files: Record<string, ReturnType<ScriptSource['kind']>> = {
  '/job/train.py': 'file',
  '/job/secret.py': 'unreadable',
  '/job/empty': 'folder',
  '/job/python': 'folder',
  '/job/app': 'folder',
  '/job/app/__main__.py': 'file',
  '/job/pipe': 'other',
  '/usr/bin/python3.11': 'file',
  '/job/self-extracting': 'file',
};
const binaries = ['/usr/bin/python3.11', '/job/self-extracting'];
const source: ScriptSource = {
  kind: path => files[path] ?? 'missing',
  list: folder =>
    Object.keys(files)
      .filter(path => path.startsWith(folder))
      .map(path => path.slice(folder.length)),
  isBinary: path => binaries.includes(path),
  find: name => (name === 'nvidia-smi' ? '/usr/bin/nvidia-smi' : undefined),
};

function problem(script: string, args: readonly string[] = [], cwd: string | undefined = '/job') {
  const found = scriptProblem({ script }, args, cwd, source);
  return found && `${found.what}: '${found.path}'${found.hint}`;
}

const missing = 'FileNotFoundError: [Errno 2] No such file or directory';

t.test('what Python can run, or might, is no problem', t => {
  const scripts = ['train.py', '/job/train.py', 'app', 'pipe', 'self-extracting', '-', '-c'];
  // A name by rank, and one that isn't what we were given.
  for (const script of [...scripts, 'by_${local_rank}.py', 'tr\ufffdn.py'])
    t.equal(problem(script), undefined, script);
  t.equal(scriptProblem({ module: 'nope' }, [], '/job', source), undefined);
  t.equal(scriptProblem({ program: 'nope' }, [], '/job', source), undefined);
  t.end();
});

t.test('F-U8, G3: a script that is not there is told, with what may have been meant', t => {
  const runs = '(--no-python runs programs)';
  const cases: [script: string, args: string[], told: string][] = [
    ['nope.sh', [], `${missing}: 'nope.sh' (in /job)`],
    ['/nope.sh', [], `${missing}: '/nope.sh'`],
    ['trian.py', [], `${missing}: 'trian.py' (in /job); did you mean train.py?`],
    [
      'python',
      ['train.py'],
      `[Errno 21] Is a directory, without a __main__.py: 'python'; did you mean \`regroup train.py\`? ${runs}`,
    ],
    [
      'python3',
      ['-u', 'train.py', '--lr=1'],
      `'python3' (in /job); did you mean \`regroup train.py\`? ${runs}`,
    ],
    ['python3', ['-m', 'pkg.train'], `did you mean \`regroup -m pkg.train\`? ${runs}`],
    [
      '/usr/bin/python3.11',
      ['train.py'],
      `not a script but a program: '/usr/bin/python3.11'; did you mean \`regroup train.py\`? ${runs}`,
    ],
    ['python', [], `did you mean \`regroup …\`? ${runs}`],
    [
      'torchrun',
      ['train.py'],
      `'torchrun' (in /job); did you mean \`regroup …\` without torchrun, with the same options?`,
    ],
    [
      'bash',
      ['run.sh'],
      `'bash' (in /job); did you mean \`regroup --no-python bash …\`, which runs the program?`,
    ],
    ['nvidia-smi', [], `did you mean \`regroup --no-python nvidia-smi\`, which runs the program?`],
    ['topolgy', [], `'topolgy' (in /job); did you mean the command \`regroup topology\`?`],
    ['secret.py', [], `PermissionError: [Errno 13] Permission denied: 'secret.py'`],
    ['empty', [], `IsADirectoryError: [Errno 21] Is a directory, without a __main__.py: 'empty'`],
  ];
  for (const [script, args, told] of cases) {
    const found = problem(script, args) ?? 'no problem';
    t.ok(found.endsWith(told), found);
  }
  t.match(
    scriptProblem({ runPath: 'nope.py' }, [], undefined, source),
    { path: 'nope.py', hint: ' (the working directory is gone)' },
    'as a function, and without a working directory',
  );
  t.end();
});
