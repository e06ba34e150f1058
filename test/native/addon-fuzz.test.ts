import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import t from 'tap';
import { guarded } from '../harness.js';

// Thousands of processes.
t.setTimeout(850_000);

const calls = 3000;

// Seeds that are fixed: what fails once fails again.
for (const seed of [1, 2, 3]) {
  t.test(`whatever is passed to the addon, it throws or works, from seed ${seed}`, async t => {
    const { env } = guarded(t, { env: { REGROUP_COOKIE: `addon-fuzz-${process.pid}-${seed}` } });

    const fuzz = [resolve('test/fixtures/fuzzes-addon.mjs'), `${seed}`, `${calls}`];
    const ran = spawnSync(process.execPath, fuzz, {
      env,
      cwd: t.testdir(),
      encoding: 'utf8',
      timeout: 120_000,
    });

    t.equal(ran.signal, null, 'no crash');
    t.equal(ran.status, 0, ran.stderr);
    const [, worked, refused] = /^(\d+) worked, (\d+) refused$/m.exec(ran.stdout) ?? [];
    t.ok(Number(worked) > calls / 20, `${worked} calls worked`);
    t.ok(Number(refused) > calls / 5, `${refused} calls were refused`);
  });
}

for (const [code, status] of [
  ['NaN', 0],
  ['Infinity', 0],
  ['259', 3],
  ['-1', 255],
  ['2 ** 53', 0],
] as const) {
  t.test(`exitNow(${code}) ends with ${status}`, async t => {
    const { env } = guarded(t);

    const script = `require('node-gyp-build')(process.cwd()).exitNow(${code})`;
    const ran = spawnSync(process.execPath, ['-e', script], { env });

    t.equal(ran.signal, null);
    t.equal(ran.status, status);
  });
}
