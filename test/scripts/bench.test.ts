import { spawnSync } from 'node:child_process';
import t from 'tap';

t.test('F-U10: an option that the benchmarks do not have is told in one line', t => {
  for (const args of [['--script', 'a.py'], ['--runs'], ['launch']]) {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['bench/run.mjs', ...args], {
      encoding: 'utf8',
    });

    t.equal(status, 2);
    t.match(stderr, /^npm run bench: .*; --help lists the options\n$/);
    t.equal(stdout, '');
  }
  t.end();
});
