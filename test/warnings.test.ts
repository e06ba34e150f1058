import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t from 'tap';

// The addon's flags, and gyp's own for a release. Of all sources this one has met a false alarm of GCC 12.
t.test('F-U7: what users see being built has no warning', async t => {
  const gyp = readFileSync('binding.gyp', 'utf8');
  const flags = /"cflags_cc": (\[.*?\])/.exec(gyp)?.[1] ?? '[]';
  const source = 'native/core/store/address.cc';
  const args = [...JSON.parse(flags), '-O3', '-fPIC', '-Inative', '-Werror', '-c', source];

  const compiler = spawnSync(process.env.CXX ?? 'c++', [...args, '-o', '/dev/null'], {
    encoding: 'utf8',
  });

  t.match(compiler, { status: 0, stderr: '' });
});
