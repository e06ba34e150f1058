// npm test: prepares what this machine lacks, builds, runs what this machine can, and says what
// was left out. Ends with `N passed, N failed`, counted in assertions.
//
//   npm test -- [--only PART,…] [--fallbacks] [--sanitizers] [--fuzz-replay] [--vm] [NAME…]
//
// NAMEs are parts of test file names. The parts are listed in `parts` below.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { besideSickNeighbours, noNeighbours } from './neighbours.mjs';
import { hasOwnNetwork } from './own-network.mjs';
import { findPythons, preparePythons } from './python.mjs';
import { main, StepFailed, say } from './steps.mjs';
import { runTap } from './tap.mjs';
import {
  buildAddon,
  buildDist,
  buildNative,
  buildSanitized,
  buildTests,
  placeCommands,
  root,
} from './test-build.mjs';

/** In the order in which they run: what fails soonest comes first. */
const parts = {
  native: { about: 'the core, without Node', run: native, always: true },
  unit: { about: 'pure code', run: () => runFiles(named(testFiles().unit)), always: true },
  process: { about: 'real processes', run: processes, always: true },
  interop: {
    about: 'real PyTorch',
    run: () => apart(named(soonest(testFiles().interop))),
    always: true,
  },
  fallbacks: { about: 'process tests without the newer system calls', run: fallbacks },
  sanitizers: {
    about: 'native tests under ASan, UBSan and TSan; the addon under ASan',
    run: sanitizers,
  },
  fuzz: { about: "the fuzz targets' corpus", run: fuzz },
  vm: { about: 'kernels with several NUMA nodes, in QEMU', run: () => alone(testFiles().vm) },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string' },
    fallbacks: { type: 'boolean' },
    sanitizers: { type: 'boolean' },
    'fuzz-replay': { type: 'boolean' },
    vm: { type: 'boolean' },
  },
});

main(async () => {
  const chosen = choose();
  const python = pythons(chosen);
  await build(chosen);

  let total = sum();
  for (const name of chosen) {
    console.log(`\n# ${name}: ${parts[name].about}`);
    total = sum(total, await parts[name].run());
  }
  report(total, python);
});

function choose() {
  if (values.only) {
    const names = values.only.split(',');
    const unknown = names.find(name => !parts[name]);
    if (unknown !== undefined) {
      throw new StepFailed(`--only ${unknown}: give some of ${Object.keys(parts).join(', ')}`);
    }
    return names;
  }
  const asked = {
    fallbacks: values.fallbacks,
    sanitizers: values.sanitizers,
    fuzz: values['fuzz-replay'],
    vm: values.vm,
  };
  return Object.keys(parts).filter(name => parts[name].always || asked[name]);
}

/** Where tests find the interpreters: REGROUP_PYTHON and REGROUP_PYTHON_OLD, unset if there are none. */
function pythons(chosen) {
  const wanted = chosen.some(name => ['process', 'interop', 'fallbacks'].includes(name));
  const found = wanted ? preparePythons() : findPythons();
  if (wanted && found.problem && process.env.CI) throw new StepFailed(found.problem);

  for (const [name, python] of [
    ['REGROUP_PYTHON', found.newest],
    ['REGROUP_PYTHON_OLD', found.old],
  ]) {
    if (python) process.env[name] = python.path;
    else delete process.env[name];
  }
  return found;
}

async function build(chosen) {
  const needs = (...names) => chosen.some(name => names.includes(name));
  if (needs('unit', 'process', 'interop', 'fallbacks', 'sanitizers', 'vm')) {
    say('building the addon and dist/');
    buildAddon();
    await buildDist();
    placeCommands();
  }
  if (needs('native', 'fuzz')) buildNative('native-tests');
  else if (needs('process', 'interop', 'fallbacks'))
    buildNative('native-tests', { target: 'store_main' });
  buildTests();
}

/** Compiled test files, by how they run. */
function testFiles() {
  const files = { unit: [], process: [], interop: [], vm: [] };
  const folder = join(root, 'build/js/test');
  for (const path of readdirSync(folder, { recursive: true }).sort()) {
    if (!path.endsWith('.test.js')) continue;
    const file = join('build/js/test', path);
    const startsProcesses = /(harness|-server)\.js'|node:child_process'|\/launch\.js'/.test(
      readFileSync(join(root, file), 'utf8'),
    );
    const part = /^(interop|vm)\//.exec(path)?.[1] ?? (startsProcesses ? 'process' : 'unit');
    files[part].push(file);
  }
  return files;
}

function named(files) {
  if (positionals.length === 0) return files;
  return files.filter(file => positionals.some(name => file.includes(name)));
}

/** In CI a file that fails gets a second chance, alone, and is told as flaky if it takes it. */
function runFiles(files, options) {
  return runTap(files, { again: Boolean(process.env.CI), ...options });
}

/** One after the other, in the machine's own network. */
function alone(files) {
  return runFiles(named(files), { jobs: 1 });
}

/** Files that run beside no other, by how their paths end: so many processes hang that whoever looks into /proc gives up; and the machine waits for memory, at which everybody's standbys go. */
const lone = ['guardian_test', 'warm/room.test.js'];

/** As many at a time as a small machine runs, each in a network of its own; where there's none, one. Lone ones come last. */
async function apart(files, options) {
  const jobs = hasOwnNetwork ? { jobs: 2, idleJobs: 2 } : { jobs: 1 };
  const isLone = file => lone.some(name => file.endsWith(name));
  const common = { isInOwnNetwork: true, ...options };
  const others = await runFiles(
    files.filter(file => !isLone(file)),
    { ...jobs, ...common },
  );
  return sum(others, await runFiles(files.filter(isLone), { ...common, jobs: 1, idleJobs: 0 }));
}

/** The longest first, so that none of them runs beside nothing at the end. */
function soonest(files) {
  const longest = [
    ...['torture', 'stock', 'shm-store', 'store-conformance', 'warm/fidelity', 'etcd', 'hang'],
    ...['start-failures', 'cluster/gloo', 'scarce', 'tidy-up', 'stores', 'report', 'members/gloo'],
    ...['sick-neighbour', 'package', 'silence', 'slurm', 'train-example', 'in-process', 'host'],
  ];
  const rank = file => {
    const at = longest.findIndex(name => file.endsWith(`/${name}.test.js`));
    return at < 0 ? longest.length : at;
  };
  return [...files].sort((a, b) => rank(a) - rank(b));
}

function native() {
  return runNative('native-tests');
}

/** The native tests of build/FOLDER. */
function runNative(folder, options) {
  return apart(named(programs(folder, '_test')), options);
}

/** Of build/FOLDER, by the ending of their names. @throws if there are none */
function programs(folder, ending) {
  const path = join('build', folder);
  const names = readdirSync(join(root, path)).filter(name => name.endsWith(ending));
  if (names.length === 0) throw new StepFailed(`no native tests in ${path}`);
  return names.sort().map(name => join(path, name));
}

/** On a machine as others leave it, where that can be had; `fallbacks` run without. */
async function processes() {
  const result = await besideSickNeighbours(() => apart(named(soonest(testFiles().process))));
  const skip = noNeighbours === undefined ? [] : [{ title: 'process', reason: noNeighbours }];
  return { ...result, skipped: [...result.skipped, ...skip] };
}

/**
 * What `fallbacks` leave out of the process tests, by how their paths begin: the product takes no other path there for
 * want of a feature. Whatever isn't here is in, and so is a new file. The features are about starting, signalling,
 * finding and ending processes; native/core reads them in spawn/ and process/, and one where it makes shared memory.
 */
const alikeWithout = {
  'cli/commands/': 'commands that start no worker',
  'cli/failures/hang.test.js': 'hangs are found by the clock and by stacks',
  'cli/line/': 'what is understood, or refused before anything starts',
  'cli/process/console.test.js':
    'one thread writes pipes to the console, whoever is at their other end',
  'cli/store/': 'who serves the store at which address',
  'cluster/addresses.test.js': 'where nodes meet',
  'cluster/ends.test.js': 'what nodes tell each other; how workers end is in cli/supervision',
  'cluster/ends/finish.test.js': 'the same',
  'cluster/ends/ids.test.js': 'whom nodes meet',
  'cluster/ends/preempted.test.js': 'what nodes tell each other',
  'cluster/etcd.test.js': 'the same, over etcd',
  'cluster/gloo.test.js': 'the same, with collectives',
  'cluster/harness.test.js': 'what tests of nodes rely on, without us',
  'cluster/host.test.js': 'where nodes meet, when it moves',
  'cluster/members/gloo.test.js': 'the same, with collectives',
  'cluster/members/groups.test.js': 'who is in a round',
  'cluster/members/identity.test.js': 'who is in a round',
  'cluster/members/store.test.js': 'where the workers meet',
  'cluster/report.test.js': 'what is said on each node',
  'cluster/rounds.test.js': 'who is in a round',
  'cluster/stores.test.js': 'where the workers meet',
  'cluster/waits.test.js': 'what is said of waits',
  'cluster/wire/addresses.test.js': 'where nodes meet',
  'cluster/wire/clock.test.js': 'what clocks say',
  'cluster/wire/hostile.test.js': 'whom nodes meet',
  'cluster/wire/proxy.test.js': 'what is between nodes',
  'cluster/wire/stock.test.js': "what torchrun's agents tell and are told",
  'cluster/wire/strangers.test.js': 'whom nodes meet',
  'cluster/wire/token.test.js': 'whom nodes meet',
  'coordination/beside-store.test.js': 'a protocol over sockets',
  'coordination/etcd.test.js': 'the same, of etcd',
  'coordination/many.test.js': 'the same, with a thousand clients',
  'coordination/server.test.js': 'a protocol over sockets',
  'coordination/token.test.js': 'the same, with proofs',
  'package.test.js': 'how it is packed and installed',
  'placement/lstopo.test.js': 'what is computed of a machine',
  'preload/': 'what workers load; what is to be done without is said for each of them',
  'python/command.test.js': 'what Python does before the command runs',
  'scripts/': 'these scripts',
  'store/': 'a protocol over sockets',
};

/**
 * As on a kernel that has none of the features which the core probes for. Native tests are told by their own code what
 * to do without, each way by itself, and read no environment.
 */
function fallbacks() {
  const probed = readFileSync(join(root, 'native/core/base/features.cc'), 'utf8');
  const names = [...probed.matchAll(/\{"([\w-]+)", &Features::/g)].map(([, name]) => name);
  if (names.length === 0) throw new StepFailed('features.cc names no features');
  say(`REGROUP_DISABLE=${names}`);
  const files = dependent(testFiles().process);
  return apart(named(soonest(files)), { env: { REGROUP_DISABLE: names.join(',') } });
}

/** Those that `alikeWithout` doesn't name. @throws if it names what isn't there, or what does otherwise without features */
function dependent(files) {
  const begins = (file, path) => file.startsWith(`build/js/test/${path}`);
  const paths = Object.keys(alikeWithout);
  const stale = paths.find(path => !files.some(file => begins(file, path)));
  if (stale !== undefined) throw new StepFailed(`fallbacks leave out ${stale}, which isn't there`);

  const leftOut = files.filter(file => paths.some(path => begins(file, path)));
  const reading = leftOut.find(file =>
    /process\.env(\.|\[')REGROUP_DISABLE/.test(readFileSync(join(root, file), 'utf8')),
  );
  if (reading) throw new StepFailed(`fallbacks leave out ${reading}, which reads REGROUP_DISABLE`);
  return files.filter(file => !leftOut.includes(file));
}

async function sanitizers() {
  const addon = buildSanitized();
  let total = sum();
  for (const [folder, env] of [
    ['asan', { UBSAN_OPTIONS: 'print_stacktrace=1' }],
    // Children of tests start threads, too, beside which others may have been.
    ['tsan', { TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1:die_after_fork=0' }],
  ]) {
    total = sum(total, await runNative(folder, { env, label: folder }));
  }
  const smoke = ['test/fixtures/asan-smoke.mjs'];
  return sum(total, await runFiles(smoke, { jobs: 1, env: addon, label: 'addon' }));
}

function fuzz() {
  const corpus = file => [join('test/fuzz/corpus', basename(file).replace(/_fuzz$/, ''))];
  return runFiles(named(programs('native-tests', '_fuzz')), { jobs: 1, args: corpus });
}

function sum(...results) {
  return {
    passed: results.reduce((n, result) => n + result.passed, 0),
    failed: results.reduce((n, result) => n + result.failed, 0),
    skipped: results.flatMap(result => result.skipped),
    flaky: results.flatMap(result => result.flaky),
  };
}

function report({ passed, failed, skipped, flaky }, python) {
  const byReason = Map.groupBy
    ? Map.groupBy(skipped, skip => skip.reason)
    : skipped.reduce((m, s) => m.set(s.reason, [...(m.get(s.reason) ?? []), s]), new Map());
  if (skipped.length > 0) console.log(`\nskipped: ${skipped.length}`);
  for (const [reason, those] of byReason) {
    console.log(`  ${those.length} × ${reason}`);
    for (const { title } of those.slice(0, 5)) console.log(`      ${title}`);
  }
  if (python.problem) console.log(`\nno PyTorch: ${python.problem}`);
  if (!python.old && existsSync('/etc/debian_version')) {
    console.log('\nno PyTorch 1.13: apt-get install --no-install-recommends python3-torch');
  }

  if (flaky.length > 0) console.log(`\nflaky: ${flaky.join(', ')}`);
  console.log(`\n${passed} passed, ${failed} failed`);
  if (failed > 0 || passed === 0) process.exitCode = 1;
}
