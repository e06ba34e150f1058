import { appendFileSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type News, outputReader } from '../../lib/hangs/output.js';
import { createDisk, type Disk } from '../../lib/system/disk.js';

const longMs = 60_000;
const step = /step (\d+)/;

function logOf(t: Test, text = ''): string {
  const path = join(t.testdir({}), 'stdout.log');
  writeFileSync(path, text);
  return path;
}

t.test('what was written since the last look is seen, whole lines of it', async t => {
  const path = logOf(t, 'step 1\nstep');
  const reader = outputReader(path, step, createDisk());

  t.strictSame(await reader.look(longMs), { wrote: true, matches: ['1'] });
  t.strictSame(await reader.look(longMs), { wrote: false, matches: [] });
  appendFileSync(path, ' 2\rstep 3');
  t.strictSame(await reader.look(longMs), { wrote: true, matches: ['2'] });
  appendFileSync(path, '4\n');
  t.strictSame(await reader.look(longMs), { wrote: true, matches: ['34'] });
});

t.test('F-F13: every line is seen, however much was written between two looks', async t => {
  const noise = `${'x'.repeat(99)}\n`.repeat(30_000);
  const path = logOf(t, `step 1\n${noise}step 2\n${noise}`);
  const reader = outputReader(path, step, createDisk());

  t.strictSame(await reader.look(longMs), { wrote: true, matches: ['1', '2'] });
});

t.test(
  'a line that is longer than a piece is one line, and one without an end is looked into',
  async t => {
    const path = logOf(t, `${'x'.repeat(700_000)} step 1 ${'x'.repeat(700_000)}\n`);
    const reader = outputReader(path, step, createDisk());

    t.strictSame((await reader.look(longMs)).matches, ['1']);
    appendFileSync(path, `step 2 ${'x'.repeat(3_000_000)}`);
    t.strictSame((await reader.look(longMs)).matches, ['2']);
  },
);

t.test('characters of several bytes are read whole over the end of a piece', async t => {
  const path = logOf(t, `${'ä'.repeat(600_000)} schritt 7\n`);
  const reader = outputReader(path, /ä schritt (\d)/, createDisk());

  t.strictSame((await reader.look(longMs)).matches, ['7']);
});

t.test('a file that was truncated begins anew', async t => {
  const path = logOf(t, 'step 1\nstep 2\n');
  const reader = outputReader(path, step, createDisk());
  await reader.look(longMs);

  truncateSync(path);
  appendFileSync(path, 'step 9\n');

  t.strictSame(await reader.look(longMs), { wrote: true, matches: ['9'] });
});

t.test('without a pattern nothing is read, only that there is more', async t => {
  const path = logOf(t, 'a');
  const reader = outputReader(path, undefined, createDisk());

  t.equal((await reader.look(longMs)).wrote, true);
  t.equal((await reader.look(longMs)).wrote, false);
  appendFileSync(path, 'b');
  t.equal((await reader.look(longMs)).wrote, true);
});

t.test('F-F13: what cannot be read is unknown, and seen once it can', async t => {
  const path = logOf(t, 'step 1\n');
  const reader = outputReader(path, step, createDisk());
  unlinkSync(path);

  t.match(await reader.look(longMs), { wrote: false, unknown: "can't be read: ENOENT" });
  writeFileSync(path, 'step 2\n');
  t.strictSame(await reader.look(longMs), { wrote: true, matches: ['2'] });
});

t.test(
  'F-F13: so is what a disk does not tell in time, and the next look goes on from there',
  async t => {
    const path = logOf(t, 'step 1\n');
    const disk = createDisk();
    let answer = (): void => {};
    const slow: Disk = {
      run: async (_, calls) => {
        await new Promise<void>(resolve => {
          answer = resolve;
        });
        return disk.run(longMs, calls);
      },
    };
    const reader = outputReader(path, step, slow);

    const first: News = await reader.look(1);
    t.match(first, { wrote: false, matches: [], unknown: 'is written faster than it can be read' });
    const second = reader.look(longMs);
    answer();
    t.strictSame(await second, { wrote: true, matches: ['1'] });
  },
);

t.test('a disk that answers nobody is told as such', async t => {
  const dead: Disk = {
    run: () => Promise.reject(Object.assign(new Error('dead'), { code: 'ETIMEDOUT' })),
  };
  t.match(await outputReader('/x', step, dead).look(longMs), { unknown: "doesn't answer" });
});
