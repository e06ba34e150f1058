// Runs test files under tap and shows a line for each, with the details of what failed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { relative } from 'node:path';
import { Parser } from 'tap-parser';
import { root } from './test-build.mjs';

/** @returns counts of assertions, and what was skipped with its reason */
export async function runTap(files, { jobs = 2, env = {}, label } = {}) {
  const total = { passed: 0, failed: 0, skipped: [] };
  if (files.length === 0) return total;

  const tap = spawn(
    process.execPath,
    ['node_modules/tap/dist/esm/run.mjs', 'run', '--reporter=tap', `--jobs=${jobs}`, ...files],
    { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const ended = once(tap, 'close');
  const parser = new Parser();
  parser.on('child', file => count(file, [], result => show(file, result)));
  tap.stdout.pipe(parser);
  const [code] = await ended;

  // A runner that fails without a failed assertion must not look like a success.
  if (code !== 0 && total.failed === 0) {
    console.log(`not ok  tap ended with ${code}`);
    total.failed++;
  }
  return total;

  function show(file, { passed, failed, skipped, failures, time }) {
    total.passed += passed;
    total.failed += failed;
    total.skipped.push(...skipped);

    const name = relative('build/js', file.name.replace(/\.js$/, '.ts'));
    const counts = [`${passed} passed`];
    if (failed > 0) counts.push(`${failed} failed`);
    if (skipped.length > 0) counts.push(`${skipped.length} skipped`);
    const seconds = `${(time / 1000).toFixed(1)} s`;
    console.log(
      `${failed > 0 ? 'not ok' : 'ok    '}  ${label ? `${label}: ` : ''}${name}  ${counts.join(', ')}  ${seconds}`,
    );
    for (const { path, diag } of failures) {
      console.log(`    ${path.join(' > ')}`);
      if (diag) console.log(details(diag).replace(/^/gm, '      '));
    }
  }
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
  const result = { passed: 0, failed: 0, skipped: [], failures: [], time: 0 };
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
  parser.on('complete', ({ time }) => done({ ...result, time: time ?? 0 }));
}
