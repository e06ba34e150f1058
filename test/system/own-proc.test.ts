import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import t from 'tap';
import { procIsOurs } from '../../lib/system/own-proc.js';

t.test('F-F01 a PID namespace without a /proc of its own has no use for it', t => {
  t.equal(procIsOurs(), true);

  const ask =
    `import(${JSON.stringify(resolve('build/js/lib/system/own-proc.js'))})` +
    '.then(({ procIsOurs }) => console.log(procIsOurs()))';
  const within = (...options: string[]) =>
    spawnSync('unshare', ['--pid', '--fork', ...options, process.execPath, '-e', ask], {
      encoding: 'utf8',
    });
  const own = within('--mount-proc');
  if (own.status !== 0) {
    t.pass('no PID namespace can be made here', { skip: own.stderr });
  } else {
    t.equal(own.stdout, 'true\n');
    t.equal(within().stdout, 'false\n');
  }
  t.end();
});
