import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { runCli } from '../harness.js';

const shown = 'import os; print(os.environ.get("LD_PRELOAD"), os.environ.get("REGROUP_EARLY"))';

t.test('the script sees nothing of what its interpreter preloads', async t => {
  const script = join(t.testdir({ 'shows.py': shown }), 'shows.py');

  const { code, stdout, stderr } = await runCli(t, ['--standalone', script]);

  t.match({ code, stdout, stderr }, { code: 0, stdout: 'None None\n', stderr: '' });
});

t.test("F-F09 F-H8 a script in the interpreter's place gets nothing to pass on", async t => {
  // It may go on in a container, where no such library is.
  const wrapper = '#!/bin/sh\necho "wrapper: ${LD_PRELOAD-None}"\nexec python3 "$@"\n';
  const folder = t.testdir({ wrapper, 'shows.py': shown });
  spawnSync('chmod', ['+x', join(folder, 'wrapper')]);

  const { code, stdout, stderr } = await runCli(t, ['--standalone', join(folder, 'shows.py')], {
    env: { PYTHON_EXEC: join(folder, 'wrapper') },
  });

  t.match({ code, stdout, stderr }, { code: 0, stdout: 'wrapper: None\nNone None\n', stderr: '' });
});

t.test('F-F09 an interpreter built with AddressSanitizer starts', async t => {
  // As such a Python is for the linker: it goes by that name, and needs the sanitizer's library.
  const source = [
    '#include <unistd.h>',
    'void Py_Main() {}',
    'int main(int c, char** v) { v[0] = "python3"; return execvp(v[0], v); }',
  ];
  const folder = t.testdir({ 'python.c': source.join('\n'), 'shows.py': shown });
  const python = join(folder, 'python');
  const flags = ['-fsanitize=address', '-rdynamic', '-w', '-o', python, `${python}.c`];
  const built = spawnSync('gcc', flags, { encoding: 'utf8' });
  if (built.status !== 0) return t.pass('', { skip: `gcc -fsanitize=address: ${built.stderr}` });

  const { code, stdout, stderr } = await runCli(t, ['--standalone', join(folder, 'shows.py')], {
    env: { PYTHON_EXEC: python },
  });

  t.match({ code, stdout, stderr }, { code: 0, stdout: 'None None\n', stderr: '' });
});
