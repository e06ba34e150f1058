import t from 'tap';
import { findPython, guessedPython, type ProgramSource } from '../../lib/workers/python.js';

/** @param scripts which of the executables are scripts; the others are programs of the machine */
function source(executables: readonly string[], scripts: readonly string[] = []): ProgramSource {
  return {
    isExecutable: path => executables.includes(path),
    isBinary: path => executables.includes(path) && !scripts.includes(path),
    realFolder: path => path.replace(/^\/link\b/, '/v'),
  };
}

t.test('Python is what the user would get, with the reason', t => {
  const usr = '/usr/bin/python3';
  const cases: [env: Record<string, string>, there: string[], path?: string, because?: string][] = [
    [{ PYTHON_EXEC: '/bin/echo', PATH: '/usr/bin' }, [usr], '/bin/echo', 'PYTHON_EXEC'],
    [{ PYTHON_EXEC: '', PATH: '/usr/bin' }, [usr], usr, 'python3 on PATH'],
    [
      { VIRTUAL_ENV: '/v', CONDA_PREFIX: '/c' },
      ['/v/bin/python', '/c/bin/python'],
      '/v/bin/python',
      'VIRTUAL_ENV',
    ],
    [
      { VIRTUAL_ENV: '/gone', CONDA_PREFIX: '/c' },
      ['/c/bin/python'],
      '/c/bin/python',
      'CONDA_PREFIX',
    ],
    [{ PATH: '/usr/bin' }, ['/job/.venv/bin/python', usr], '/job/.venv/bin/python', './.venv'],
    [{ PATH: '/a:/b' }, ['/a/python', '/b/python3'], '/b/python3', 'python3 on PATH'],
    [{ PATH: '/a:/b' }, ['/b/python'], '/b/python', 'python on PATH'],
    [{ PATH: ':/b' }, ['/job/python3'], '/job/python3', 'python3 on PATH'],
    [{}, [usr], usr, 'python3 on PATH'],
    [{ PATH: '/a' }, []],
    // A variable that is ours, and that people have set for the examples already.
    [
      { REGROUP_PYTHON: '/r/python', VIRTUAL_ENV: '/v' },
      ['/v/bin/python'],
      '/r/python',
      'REGROUP_PYTHON',
    ],
    [{ REGROUP_PYTHON: '/r/python', PYTHON_EXEC: '/p' }, [], '/p', 'PYTHON_EXEC'],
  ];
  for (const [env, there, path, because] of cases) {
    const found = findPython(env, '/job', source(there));
    t.match(found, path === undefined ? undefined : { path, because }, JSON.stringify(env));
  }
  t.end();
});

t.test('PYTHON_EXEC is an interpreter where it names the one that would be taken anyway', t => {
  const there = source(['/usr/bin/python3']);
  const env = { PATH: '/usr/bin' };
  t.match(findPython({ ...env, PYTHON_EXEC: '/usr/bin/python3' }, '/job', there), {
    isInterpreter: true,
  });
  t.match(findPython({ ...env, PYTHON_EXEC: '/bin/echo' }, '/job', there), {
    isInterpreter: false,
  });
  t.end();
});

t.test('F-H6: PATH wins over the base of conda, by its name or by its folder', t => {
  const there = source(['/c/bin/python', '/c/condabin/conda', '/usr/bin/python3', '/e/bin/python']);
  const pathOf = (env: Record<string, string>) => findPython(env, '/job', there)?.path;

  t.equal(pathOf({ CONDA_PREFIX: '/c', PATH: '/usr/bin' }), '/usr/bin/python3');
  t.equal(pathOf({ CONDA_PREFIX: '/e', PATH: '/usr/bin' }), '/e/bin/python');
  t.equal(
    pathOf({ CONDA_PREFIX: '/e', CONDA_DEFAULT_ENV: 'base', PATH: '/usr/bin' }),
    '/usr/bin/python3',
  );
  t.equal(
    pathOf({ CONDA_PREFIX: '/c', CONDA_DEFAULT_ENV: 'train', PATH: '/usr/bin' }),
    '/c/bin/python',
  );
  t.equal(pathOf({ CONDA_PREFIX: '/c', PATH: '/nowhere' }), '/c/bin/python', 'better than none');
  t.end();
});

t.test('F-H6: a guess that is not what PATH has is told, with both', t => {
  const scripts = ['/shims/python3'];
  const there = source(
    [
      '/v/bin/python',
      '/v/bin/python3',
      '/job/.venv/bin/python',
      '/usr/bin/python3',
      '/usr/bin/python',
      ...scripts,
    ],
    scripts,
  );
  const cases: [env: Record<string, string>, insteadOf: string | undefined][] = [
    [{ PATH: '/usr/bin' }, '/usr/bin/python3'],
    [{ PATH: '/job/.venv/bin:/usr/bin' }, undefined],
    [{ PATH: '/shims' }, '/shims/python3'],
    [{ PATH: '/nowhere' }, undefined],
    [{ VIRTUAL_ENV: '/v', PATH: '/v/bin:/usr/bin' }, undefined],
    [{ VIRTUAL_ENV: '/link', PATH: '/v/bin:/usr/bin' }, undefined],
    [{ VIRTUAL_ENV: '/v', PATH: '/usr/bin:/v/bin' }, '/usr/bin/python3'],
    [{ VIRTUAL_ENV: '/v', PATH: '/shims:/usr/bin' }, undefined],
    [{ REGROUP_PYTHON: '/r/python', PATH: '/usr/bin' }, undefined],
    [{ PYTHON_EXEC: '/usr/bin/python3', PATH: '/usr/bin' }, undefined],
  ];
  const all = source([...['/link/bin/python'], '/v/bin/python', '/v/bin/python3']);
  const either: ProgramSource = {
    ...there,
    isExecutable: path => there.isExecutable(path) || all.isExecutable(path),
  };
  for (const [env, insteadOf] of cases) {
    const python = findPython(env, '/job', either);
    t.equal(python?.insteadOf, insteadOf, JSON.stringify(env));
  }
  const python = findPython({ PATH: '/usr/bin' }, '/job', there);
  t.equal(
    python && guessedPython(python),
    'workers run /job/.venv/bin/python (./.venv), not /usr/bin/python3 on PATH; PYTHON_EXEC chooses another',
  );
  t.end();
});
