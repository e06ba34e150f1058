import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';

interface Total {
  readonly passed: number;
  readonly failed: number;
  readonly flaky: readonly string[];
}

/** What `npm test` runs test files with, and what it prints. */
async function runFiles(
  t: Test,
  source: string,
  options: { readonly again?: boolean; readonly timeoutMs?: number } = {},
  name = 'played.mjs',
): Promise<Total & { readonly lines: readonly string[] }> {
  const { runTap } = await import(pathToFileURL('scripts/tap.mjs').href);
  const file = join(t.testdir(), name);
  writeFileSync(file, source, { mode: 0o755 });
  const lines: string[] = [];
  const { log } = console;
  console.log = (line: string) => lines.push(line); // its lines aren't ours
  try {
    return { ...(await runTap([file], options)), lines };
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
  const { passed, failed, flaky: files } = await runFiles(t, flaky, { again: true });

  t.same([passed, failed, files.length], [2, 0, 1]);
});

t.test('nobody gets a second chance unasked', async t => {
  const { passed, failed, flaky: files } = await runFiles(t, flaky);

  t.same([passed, failed, files.length], [1, 1, 0]);
});

t.test('a file that fails twice has failed', async t => {
  const always = `console.log('TAP version 14\\n1..2\\nok 1 - one\\nnot ok 2 - two');`;

  const { passed, failed, flaky: files } = await runFiles(t, always, { again: true });

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

  const { passed, failed } = await runFiles(t, leaves);

  t.same([passed, failed], [1, 1]);
});

t.test('a native file is run by itself, without what tap gives to its own', async t => {
  const native = `#!/bin/sh
    echo 'TAP version 14'
    echo '1..1'
    [ -z "$TAP_TIMEOUT" ] && echo 'ok 1 - one' || echo 'not ok 1 - one'`;

  const { passed, failed, lines } = await runFiles(t, native, {}, 'played_test');

  t.same([passed, failed], [1, 0]);
  t.match(lines.join('\n'), /^ok {6}native played_test {2}1 passed/);
});

t.test(
  'a file that hangs is ended with who holds its output, and told with its last test',
  async t => {
    const hangs = `
    import { spawn } from 'node:child_process';
    console.log('TAP version 14\\nok 1 - one');
    spawn('sleep', ['1000'], { detached: true, stdio: 'inherit' });`;

    const { passed, failed, lines } = await runFiles(t, hangs, { timeoutMs: 8000 });

    t.equal(passed, 1);
    t.ok(failed > 0);
    t.match(lines.join('\n'), 'not over in 8 s, after: one');
  },
);
