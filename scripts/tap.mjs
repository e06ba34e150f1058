// Runs test files and shows a line for each, with the details of what failed.
//
// Each is a program that prints TAP, so Node alone runs it. tap's own runner would load hooks into
// every Node that a test starts and put variables into its environment; ours are tests of what
// processes see and of how they end.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Parser } from 'tap-parser';
import { ownCgroup } from './own-cgroup.mjs';
import { root } from './test-build.mjs';

/** For one file, on a machine that others use as well. */
const timeoutMs = 1_800_000;
/** For each of a file's tests: tap's own limit, in seconds. */
const testTimeout = 480;
/** Of what a file left behind. */
const maxLeftShown = 8;

/**
 * Runs test files, `jobs` at a time.
 *
 * @param again a file that fails runs once more, alone; what it does then counts
 * @returns counts of assertions, what was skipped with its reason, and the files that failed first
 *   and passed then
 */
export async function runTap(files, { jobs = 2, env = {}, label, again = false } = {}) {
  const total = { passed: 0, failed: 0, skipped: [], flaky: [] };
  const waiting = [...files];
  const failing = [];
  const work = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) {
      const result = await runFile(file, env);
      show(file, result);
      if (again && result.failed > 0) failing.push(file);
      else add(result);
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  for (const file of failing) {
    console.log(`once more, alone: ${nameOf(file)}`);
    const result = await runFile(file, env);
    show(file, result);
    add(result);
    if (result.failed === 0) total.flaky.push(nameOf(file));
  }
  return total;

  function add({ passed, failed, skipped }) {
    total.passed += passed;
    total.failed += failed;
    total.skipped.push(...skipped);
  }

  function nameOf(file) {
    return `${label ? `${label}: ` : ''}${file.replace(/^build\/js\/(.*)\.js$/, '$1.ts')}`;
  }

  function show(file, { passed, failed, skipped, failures, time }) {
    const counts = [`${passed} passed`];
    if (failed > 0) counts.push(`${failed} failed`);
    if (skipped.length > 0) counts.push(`${skipped.length} skipped`);
    const seconds = `${(time / 1000).toFixed(1)} s`;
    console.log(
      `${failed > 0 ? 'not ok' : 'ok    '}  ${nameOf(file)}  ${counts.join(', ')}  ${seconds}`,
    );
    for (const { path, diag } of failures) {
      console.log(`    ${path.join(' > ')}`);
      if (diag) console.log(details(diag).replace(/^/gm, '      '));
    }
  }
}

async function runFile(file, env) {
  const start = performance.now();
  const temp = mkdtempSync(join(tmpdir(), 'regroup-file-'));
  const before = new Set(readdirSync(root));
  const cgroup = ownCgroup();
  const [command, ...args] = cgroup.within([process.execPath, '--enable-source-maps', file]);
  const child = spawn(command, args, {
    cwd: root,
    env: { ...process.env, TAP_TIMEOUT: String(testTimeout), TMPDIR: temp, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  const parser = new Parser();
  const counted = new Promise(done => count(parser, [], done));
  child.stdout.pipe(parser);
  const [[code, signal], result] = await Promise.all([once(child, 'close'), counted]);
  clearTimeout(timer);

  const left = [
    ...filesIn(temp),
    ...filesIn(root).filter(path => !before.has(basename(path))),
    ...(await cgroup.remove()),
  ];
  rmSync(temp, { recursive: true, force: true });
  if (left.length > 0) {
    result.failed++;
    const more = left.length > maxLeftShown ? ` and ${left.length - maxLeftShown} more` : '';
    result.failures.push({
      path: [`left behind ${left.slice(0, maxLeftShown).join(', ')}${more}`],
    });
  }
  // A file that fails without a failed assertion must not look like a success.
  if (code !== 0 && result.failed === 0) {
    result.failed++;
    result.failures.push({ path: [`ended with ${signal ?? code}`] });
  }
  return { ...result, time: performance.now() - start };
}

/** Without what tools keep for their next run: PyTorch compiled code, prebuildify headers, tap fixtures. */
function filesIn(folder) {
  return readdirSync(folder)
    .filter(name => !/^(torchinductor_.*|prebuildify|\.tap)$/.test(name))
    .map(name => join(folder, name));
}

/** What a person needs of a failure: where, and what was there instead; not tap's own bookkeeping. */
function details({ at, source, stack, compare, test, typeName, thrown, cause, diff, ...rest }) {
  const shown = Object.entries({ ...rest, ...(cause?.message && { cause: cause.message }) });
  return [
    at ? `at ${at.fileName}:${at.lineNumber}` : undefined,
    diff,
    ...shown.map(
      ([key, value]) => `${key}: ${typeof value === 'string' ? value : JSON.stringify(value)}`,
    ),
  ]
    .filter(Boolean)
    .join('\n');
}

/** Counts what has no subtests: the line that closes a subtest repeats its content. */
function count(parser, path, done) {
  const result = { passed: 0, failed: 0, skipped: [], failures: [] };
  let child;
  parser.on('child', subtest => {
    child = undefined;
    count(subtest, [...path, subtest.name], counted => {
      child = counted;
      result.passed += counted.passed;
      result.failed += counted.failed;
      result.skipped.push(...counted.skipped);
      result.failures.push(...counted.failures);
    });
  });
  parser.on('assert', ({ ok, name, skip, todo, diag }) => {
    const closes = child;
    child = undefined;
    const title = [...path, name].join(' > ');
    if (closes && (ok || closes.failed > 0)) return;
    if (skip) {
      result.skipped.push({ title, reason: skip === true ? 'no reason given' : skip });
    } else if (todo) {
      result.skipped.push({ title, reason: 'todo' });
    } else if (ok) {
      result.passed++;
    } else {
      result.failed++;
      result.failures.push({ path: [...path, name], diag });
    }
  });
  parser.on('bailout', reason => {
    result.failed++;
    result.failures.push({ path: [...path, `bailed out: ${reason}`] });
  });
  parser.on('complete', () => done(result));
}
