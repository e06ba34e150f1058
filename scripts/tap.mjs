// Runs test files and shows a line for each, with the details of what failed.
//
// Each is a program that prints TAP, so Node alone runs it. tap's own runner would load hooks into
// every Node that a test starts and put variables into its environment; ours are tests of what
// processes see and of how they end.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Parser } from 'tap-parser';
import { root } from './test-build.mjs';

/** For one file. Inside, tap's own limit is that of the file's tests. */
const timeoutMs = 600_000;

/** @returns counts of assertions, and what was skipped with its reason */
export async function runTap(files, { jobs = 2, env = {}, label } = {}) {
  const total = { passed: 0, failed: 0, skipped: [] };
  const waiting = [...files];
  const work = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) {
      show(file, await runFile(file, env));
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  return total;

  function show(file, { passed, failed, skipped, failures, time }) {
    total.passed += passed;
    total.failed += failed;
    total.skipped.push(...skipped);

    const name = file.replace(/^build\/js\/(.*)\.js$/, '$1.ts');
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

async function runFile(file, env) {
  const start = performance.now();
  const temp = mkdtempSync(join(tmpdir(), 'regroup-file-'));
  const before = new Set([...readdirSync(root), ...cgroups()]);
  const child = spawn(process.execPath, ['--enable-source-maps', file], {
    cwd: root,
    env: { ...process.env, TAP_TIMEOUT: '120', TMPDIR: temp, ...env },
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
    ...(await leftCgroups(before)),
  ];
  rmSync(temp, { recursive: true, force: true });
  if (left.length > 0) {
    result.failed++;
    result.failures.push({ path: [`left behind ${left.join(', ')}`] });
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

/** Below our own in each hierarchy: those that agents and tests make. */
function cgroups() {
  const ours = readFileSync('/proc/self/cgroup', 'utf8').trim().split('\n');
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter(line => / - cgroup2? /.test(line))
    .map(line => line.split(' ')[4]);
  const places = points.flatMap(point => ours.map(line => join(point, line.split(':')[2])));
  return [...new Set(places)].flatMap(place => {
    const names = existsSync(place) ? readdirSync(place) : [];
    return names.filter(name => name.startsWith('regroup-')).map(name => join(place, name));
  });
}

/** The guardian of an agent that was killed removes its cgroups a moment later. Those of others have processes. */
async function leftCgroups(before) {
  const left = () => cgroups().filter(path => !before.has(path) && isEmptyCgroup(path));
  for (let tries = 0; tries < 100 && left().length > 0; tries++) await sleep(20);
  return left();
}

function isEmptyCgroup(path) {
  try {
    return (
      readFileSync(join(path, 'cgroup.procs'), 'utf8') === '' &&
      readdirSync(path, { withFileTypes: true })
        .filter(entry => entry.isDirectory())
        .every(entry => isEmptyCgroup(join(path, entry.name)))
    );
  } catch {
    return false; // gone meanwhile
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
