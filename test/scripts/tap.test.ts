import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';

interface Total {
  readonly passed: number;
  readonly failed: number;
  readonly flaky: readonly string[];
}

/** What `npm test` runs test files with. */
async function runFiles(t: Test, source: string, again: boolean): Promise<Total> {
  const { runTap } = await import(pathToFileURL('scripts/tap.mjs').href);
  const file = join(t.testdir(), 'played.mjs');
  writeFileSync(file, source);
  const { log } = console;
  console.log = () => {}; // its lines aren't ours
  try {
    return await runTap([file], { again });
  } finally {
    console.log = log;
  }
}

/** Fails when it runs for the first time. */
const flaky = `
  import { existsSync, writeFileSync } from 'node:fs';
  const marker = new URL('ran', import.meta.url);
  console.log('TAP version 14\\n1..2\\nok 1 - one');
  console.log(existsSync(marker) ? 'ok 2 - two' : 'not ok 2 - two');
  writeFileSync(marker, '');`;

t.test('a file that fails once and passes alone is flaky, and counts as passed', async t => {
  const { passed, failed, flaky: files } = await runFiles(t, flaky, true);

  t.same([passed, failed, files.length], [2, 0, 1]);
});

t.test('nobody gets a second chance unasked', async t => {
  const { passed, failed, flaky: files } = await runFiles(t, flaky, false);

  t.same([passed, failed, files.length], [1, 1, 0]);
});

t.test('a file that fails twice has failed', async t => {
  const always = `console.log('TAP version 14\\n1..2\\nok 1 - one\\nnot ok 2 - two');`;

  const { passed, failed, flaky: files } = await runFiles(t, always, true);

  t.same([passed, failed, files.length], [1, 1, 0]);
});

t.test('a process that outlives its file is a failure, and is ended', async t => {
  if (process.getuid?.() !== 0 || !existsSync('/sys/fs/cgroup')) {
    return void t.plan(0, 'no cgroups can be made here');
  }
  const leaves = `
    import { spawn } from 'node:child_process';
    spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' }).unref();
    console.log('TAP version 14\\n1..1\\nok 1 - one');`;

  const { passed, failed } = await runFiles(t, leaves, false);

  t.same([passed, failed], [1, 1]);
});
