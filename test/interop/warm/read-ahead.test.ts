import { spawnSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { textFor } from '../../../lib/agent/standbys/kept.js';
import { standbyFolder } from '../../../lib/preload/standby.js';
import { isAlive } from '../../processes.js';
import { keptList, python, read, run, type Setting, setting } from './heavy.js';

// Files of a kept list are read ahead while the first round starts.

t.setTimeout(600_000);

const program = join(standbyFolder(), '_regroup_read_ahead.py');

/** A python that notes how it's called, and does `first` before. */
function noted(made: Setting, first: string): Setting {
  const path = join(made.folder, 'python');
  const note = `echo "$$ $*" >> ${join(made.folder, 'calls')}`;
  writeFileSync(path, `#!/bin/sh\n${note}\n${first}\nexec ${python} "$@"\n`);
  chmodSync(path, 0o755);
  return { ...made, options: { ...made.options, python: path } };
}

function readAheads({ folder }: Setting): string[] {
  const calls = (read(join(folder, 'calls')) ?? '').split('\n');
  return calls.filter(call => call.includes('_regroup_read_ahead.py'));
}

t.test('the next run has the list read ahead, by a process that no round waits for', async t => {
  const made = noted(setting(t, 'plain'), 'case "$1" in -I) sleep 1000 & wait ;; esac');

  const first = await run(made);
  await keptList(made);
  t.strictSame(readAheads(made), [], 'at first there is no list');
  const second = await run(made);

  t.match([first.result, second.result], [{ outcome: 'succeeded' }, { outcome: 'succeeded' }]);
  const calls = readAheads(made);
  t.match(calls, [/ -I -S \/.*_regroup_read_ahead\.py \/.*\/imports-\w+\.json$/]);
  t.notOk(isAlive(Number.parseInt(calls[0] ?? '', 10)), 'it is gone with the run');
});

t.test('what a list names is in memory then, the compiled module first', async t => {
  const folder = t.testdir({ 'mod.py': '', __pycache__: {} });
  const compiled = spawnSync(
    python,
    ['-c', 'import importlib.util as u; print(u.cache_from_source("mod.py"))'],
    { encoding: 'utf8' },
  );
  const paths = {
    library: join(folder, 'library.so'),
    module: join(folder, 'mod.py'),
    cached: join(folder, compiled.stdout.trim()),
  };
  for (const path of Object.values(paths)) writeFileSync(path, Buffer.alloc(5 << 20, 'x'));
  const list = join(folder, 'list');
  const files = ['/nonesuch', '/dev/zero', folder, paths.library, paths.module];
  writeFileSync(list, textFor({ modules: [], replays: false, own: [], files }));
  const evict = [
    'import os, sys',
    'for path in sys.argv[1:]:',
    '    file = os.open(path, os.O_RDONLY)',
    '    os.fsync(file)',
    '    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)',
  ].join('\n');
  spawnSync(python, ['-c', evict, ...Object.values(paths)]);
  const resident = (path: string): number => {
    const { stdout } = spawnSync('fincore', ['-nbo', 'RES', path], { encoding: 'utf8' });
    return Number(stdout ?? Number.NaN);
  };
  if (!(resident(paths.library) === 0)) return t.plan(0, 'no fincore, or a file system in memory');

  const { status, stderr } = spawnSync(python, ['-I', '-S', program, list], { encoding: 'utf8' });

  t.equal(status, 0, stderr);
  t.equal(resident(paths.library), 5 << 20);
  t.equal(resident(paths.cached), 5 << 20);
  t.equal(resident(paths.module), 0, 'which no import opens');
});
