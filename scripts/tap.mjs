// Runs test files and shows a line for each, with the details of what failed.
//
// Each is a program that prints TAP: one for Node, which alone runs it, or a native one. tap's own runner would load hooks into
// every Node that a test starts and put variables into its environment; ours are tests of what
// processes see and of how they end.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Parser } from 'tap-parser';
import { ownCgroup } from './own-cgroup.mjs';
import { inOwnNetwork } from './own-network.mjs';
import { root } from './test-build.mjs';

/** For one file, on a machine that others use as well. The longest takes four minutes alone. */
const defaultTimeoutMs = 900_000;
/** For each of a file's tests: tap's own limit, in seconds. */
const testTimeout = 480;
/** Of what a file left behind. */
const maxLeftShown = 8;
/** For its output to end after it did, where nobody can end who else holds it. */
const closeMs = 20_000;
/** Of the processors, for how long, so that one more file runs: most of them wait most of their time. */
const idleShare = 0.3;
const idleMs = 2000;

/**
 * Runs test files, `jobs` at a time, and up to `idleJobs` more while the machine has little to do.
 *
 * @param args for each of them
 * @param timeoutMs for each of them
 * @param again a file that fails runs once more, alone; what it does then counts
 * @param isInOwnNetwork each runs in one, where that can be had
 * @returns counts of assertions, what was skipped with its reason, and the files that failed first
 *   and passed then
 */
export async function runTap(
  files,
  {
    jobs = 2,
    idleJobs = 0,
    env = {},
    args,
    label,
    timeoutMs = defaultTimeoutMs,
    again = false,
    isInOwnNetwork = false,
  } = {},
) {
  const total = { passed: 0, failed: 0, skipped: [], flaky: [] };
  const waiting = [...files];
  const failing = [];
  const work = async next => {
    for (let file = await next(); file; file = await next()) {
      const result = await run(file);
      show(file, result);
      if (again && result.failed > 0) failing.push(file);
      else add(result);
    }
  };
  const nextWhenIdle = inTurn(async () => {
    while (waiting.length > 0 && !(await isIdle()));
    return waiting.shift();
  });
  await Promise.all([
    ...Array.from({ length: jobs }, () => work(() => waiting.shift())),
    ...Array.from({ length: idleJobs }, () => work(nextWhenIdle)),
  ]);
  for (const file of failing) {
    console.log(`once more, alone: ${nameOf(file)}`);
    const result = await run(file);
    show(file, result);
    add(result);
    if (result.failed === 0) total.flaky.push(nameOf(file));
  }
  return total;

  function run(file) {
    return runFile(file, { env, args: args?.(file) ?? [], timeoutMs, isInOwnNetwork });
  }

  function add({ passed, failed, skipped }) {
    total.passed += passed;
    total.failed += failed;
    total.skipped.push(...skipped);
  }

  function nameOf(file) {
    const name = isNodes(file)
      ? file.replace(/^build\/js\/(.*)\.js$/, '$1.ts')
      : `native ${basename(file)}`;
    return label ? `${label}: ${name}` : name;
  }

  function show(file, { passed, failed, skipped, failures, time, cpuMs }) {
    const counts = [`${passed} passed`];
    if (failed > 0) counts.push(`${failed} failed`);
    if (skipped.length > 0) counts.push(`${skipped.length} skipped`);
    const seconds = ms => `${(ms / 1000).toFixed(1)} s`;
    const used = cpuMs === undefined ? '' : `, ${seconds(cpuMs)} of CPU`;
    console.log(
      `${failed > 0 ? 'not ok' : 'ok    '}  ${nameOf(file)}  ${counts.join(', ')}  ${seconds(time)}${used}`,
    );
    for (const { path, diag } of failures) {
      console.log(`    ${path.join(' > ')}`);
      if (diag) console.log(details(diag).replace(/^/gm, '      '));
    }
  }
}

/** The same, one call at a time: whoever looked at the machine has begun what he looked for when the next one looks. */
function inTurn(action) {
  let last = Promise.resolve();
  return () => {
    last = last.then(action);
    return last;
  };
}

async function isIdle() {
  const before = processorMs();
  await sleep(idleMs);
  const after = processorMs();
  return after.idle - before.idle >= idleShare * (after.all - before.all);
}

/** Of all processors since they began. */
function processorMs() {
  const times = cpus().map(cpu => cpu.times);
  return {
    idle: times.reduce((sum, { idle }) => sum + idle, 0),
    all: times.flatMap(Object.values).reduce((sum, ms) => sum + ms, 0),
  };
}

function isNodes(file) {
  return /\.m?js$/.test(file);
}

async function runFile(file, { env, args, timeoutMs, isInOwnNetwork }) {
  const start = performance.now();
  const temp = mkdtempSync(join(tmpdir(), 'regroup-file-'));
  // Sockets of agents that a test has killed stay, until somebody looks for runs. Their paths are short.
  const runtime = mkdtempSync(join(tmpdir(), 'rr-'));
  const before = new Set(readdirSync(root));
  const cgroup = ownCgroup();
  const [program, own] = isNodes(file)
    ? [[process.execPath, '--enable-source-maps', file], { TAP_TIMEOUT: String(testTimeout) }]
    : [[file], { TAP_TIMEOUT: undefined }];
  const whole = [...program, ...args];
  const [command, ...rest] = cgroup.within(isInOwnNetwork ? inOwnNetwork(whole) : whole);
  const child = spawn(command, rest, {
    cwd: root,
    env: { ...process.env, ...own, TMPDIR: temp, XDG_RUNTIME_DIR: runtime, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let hung = false;
  const timer = setTimeout(() => {
    hung = true;
    child.kill('SIGKILL');
  }, timeoutMs);
  const parser = new Parser();
  const counted = new Promise(done => count(parser, [], done));
  child.stdout.pipe(parser);
  const closed = once(child, 'close');
  const [code, signal] = await once(child, 'exit');
  clearTimeout(timer);
  const cpuMs = cgroup.cpuMs();
  const leftInCgroup = await cgroup.remove(hung ? 0 : undefined);
  await Promise.race([closed, sleep(closeMs, undefined, { ref: false })]);
  parser.end();
  const result = await counted;

  const left = [
    ...filesIn(temp),
    ...filesIn(root).filter(path => !before.has(basename(path))),
    ...leftInCgroup,
  ];
  rmSync(temp, { recursive: true, force: true });
  rmSync(runtime, { recursive: true, force: true });
  if (hung) {
    result.failed++;
    const after = result.last === undefined ? '' : `, after: ${result.last}`;
    result.failures.push({ path: [`not over in ${timeoutMs / 1000} s${after}`] });
  }
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
  return { ...result, time: performance.now() - start, cpuMs };
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
  const result = { passed: 0, failed: 0, skipped: [], failures: [], last: undefined };
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
    result.last = title;
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
