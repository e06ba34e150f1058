// npm run bench [-- --only launch,death] [--runs FACTOR] [--quick] [--launchers a,b] [--before FOLDER] [--restarts N] [--kills N]
//               [--minutes N] [--seed N] [--agents N,N] [--readme]
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { abandonAll, findLaunchers } from './lib.mjs';
import { machine, repo } from './machine.mjs';

/** Each has a table in docs/benchmarks.md, or in `pages`, between `<!-- MARK:begin -->` and `<!-- MARK:end -->`. */
const parts = [
  {
    names: [
      'startup',
      'launch',
      'death',
      'end',
      'many',
      'memory',
      'idle',
      'output',
      'kill',
      'orphans',
      'early',
      'placement',
      'restarts',
    ],
    mark: 'bench',
    file: 'bench/results/latest.json',
    floor: '*Floor*: a C program that only vforks, execs and waits.',
  },
  {
    names: ['nodes', 'prestart'],
    mark: 'bench-nodes',
    pages: ['docs/benchmarks.md', 'README.md'],
    file: 'bench/results/nodes.json',
    floor: '',
  },
  {
    names: ['standby'],
    mark: 'bench-standby',
    file: 'bench/results/standby.json',
    floor: '',
    isAsked: true,
  },
  {
    names: ['store-ops', 'store-meet', 'store-replay', 'store-memory', 'store-attack', 'shm'],
    mark: 'bench-store',
    file: 'bench/results/store.json',
    floor:
      "*torchrun* is PyTorch's TCPStore here. *Floor*: a bare epoll server that echoes as many bytes; " +
      'at shared memory, one over a Unix socket.',
  },
  {
    names: ['scale'],
    mark: 'bench-scale',
    pages: ['docs/scale.md'],
    file: 'bench/results/scale.json',
    floor: '',
    isAsked: true,
  },
  { names: ['gpu'], mark: 'bench-gpu', file: 'bench/results/gpu.json', floor: '', isAsked: true },
];
/** Whose rows may stand in README.md's first table. */
const headlined = ['bench', 'bench-store'];
/** The rows of it, by how they begin: those that decide whether somebody reads on. */
const headlines = [
  "command → last worker's first line, 2 torch workers",
  "worker's death → peers told, 8 bare workers",
  "worker's death → last new first line, 8 bare workers",
  'restarts of a 2-worker gloo job that never train again',
  "last worker's clean exit → command ends",
  'agent SIGKILLed → the last of 8 workers and 128 loaders gone',
  'death of a worker that has touched 2 GB → its peer told',
  'tee with prefixes, 2 × 200,000 lines: last line → command ends',
  'agent resident memory, 8 workers',
  'store: answers a second, one request in flight from each of 256 clients',
];
/** What's run when nothing is named. */
const names = parts.flatMap(part => (part.isAsked ? [] : part.names));
/** What's run when it's named: it needs more than other machines have, or stands in no table. */
const asked = ['uring', 'soak', ...parts.flatMap(part => (part.isAsked ? part.names : []))];

const options = optionsOf({
  options: {
    only: { type: 'string' }, // names of benchmarks, comma-separated
    launchers: { type: 'string' }, // torchrun, torchrun-1.13, regroup, before, floor
    before: { type: 'string' }, // another built checkout, as the launcher `before`
    runs: { type: 'string', default: '1' }, // factor on every number of runs
    restarts: { type: 'string' }, // of regroup, in restarts.bench.mjs
    kills: { type: 'string' }, // of regroup, in orphans.bench.mjs
    minutes: { type: 'string' }, // of soak.bench.mjs
    seed: { type: 'string' }, // of its faults
    agents: { type: 'string' }, // of scale.bench.mjs, comma-separated
    quick: { type: 'boolean', default: false }, // two runs of each: does it work at all?
    readme: { type: 'boolean', default: false }, // rewrite the table in README.md
    help: { type: 'boolean', default: false },
  },
});

/** What's wrong with them is one line. */
function optionsOf(config) {
  try {
    return parseArgs(config).values;
  } catch (error) {
    console.error(`npm run bench: ${error.message.split('. ', 1)[0]}; --help lists the options`);
    process.exit(2);
  }
}

if (options.help) {
  console.log(fs.readFileSync(path.join(repo, 'bench', 'README.md'), 'utf8'));
  process.exit(0);
}

/** `store` names all that begin with `store-`. */
const named = wanted => {
  const found = [...names, ...asked].filter(
    name => name === wanted || name.startsWith(`${wanted}-`),
  );
  if (found.length > 0) return found;
  console.error(`--only: no benchmark ${wanted}; there are ${[...names, ...asked].join(', ')}`);
  process.exit(2);
};
const only = options.only?.split(',').flatMap(named) ?? names;
const factor = Number(options.runs);
if (!(factor > 0)) {
  console.error(`--runs ${options.runs}: expected a factor above 0`);
  process.exit(2);
}

const launchers = findLaunchers(options.launchers?.split(','), options.before);
const context = {
  launchers,
  quick: options.quick,
  restarts: options.restarts ? Number(options.restarts) : undefined,
  ...(options.kills ? { kills: Number(options.kills) } : {}),
  ...(options.minutes ? { minutes: Number(options.minutes) } : {}),
  ...(options.seed ? { seed: Number(options.seed) } : {}),
  ...(options.agents ? { agents: options.agents.split(',').map(Number) } : {}),
  scale: runs => (options.quick ? Math.min(runs, 2) : Math.max(1, Math.round(runs * factor))),
};

const report = { machine: machine(launchers), benchmarks: {} };
printMachine(report.machine);
if (process.env.NODE_EXTRA_CA_CERTS)
  console.log('NODE_EXTRA_CA_CERTS is set here and unset for what is measured (bench/README.md)');

let broken = 0;
for (const name of only) {
  const began = process.hrtime.bigint();
  try {
    const benchmark = await import(`./${name}.bench.mjs`);
    const rows = await benchmark.run(context);
    report.benchmarks[name] = rows;
    const seconds = Number(process.hrtime.bigint() - began) / 1e9;
    console.log(`\n${name} (${seconds.toFixed(0)} s)\n${textTable(rows)}`);
  } catch (error) {
    broken++;
    report.benchmarks[name] = { error: String(error.message) };
    console.error(`\n${name}: FAILED\n${error.stack}`);
    abandonAll();
  }
}
report.machine.loadAfter = os.loadavg().map(load => Math.round(load * 100) / 100);

/** Whose results are kept: those that were run whole. */
const whole = parts.filter(
  part =>
    !options.quick &&
    !options.launchers &&
    !options.before &&
    part.names.every(name => Array.isArray(report.benchmarks[name])),
);
console.log();
for (const part of whole) {
  const benchmarks = Object.fromEntries(part.names.map(name => [name, report.benchmarks[name]]));
  write(part.file, { ...report, benchmarks });
}
if (whole.length === 0) write('build/bench/last.json', report);

const rows = Object.values(report.benchmarks).flatMap(r => (Array.isArray(r) ? r : []));
const missed = rows.filter(r => r.verdict === 'missed');
console.log(`${rows.filter(r => r.verdict === 'met').length} targets met, ${missed.length} missed`);
for (const r of missed)
  console.log(
    `missed: ${r.what}: ${r.figures.regroup[r.stat]} ${r.unit} ${r.stat}, target ${r.target} = ${r.limit}`,
  );
if (options.readme) {
  for (const part of whole) writePart(part);
  if (whole.some(part => headlined.includes(part.mark))) writeHeadlines();
}
process.exitCode = broken > 0 ? 1 : 0;

function printMachine(m) {
  console.log(
    `${m.date} · ${m.cpu}, ${m.memoryGb} GB · Linux ${m.kernel}, glibc ${m.glibc} · Node ${m.node} · ` +
      `Python ${m.python}, torch ${m.torch} · ${m.commit} · load ${m.loadBefore.join(' ')}`,
  );
}

/** `p50 (min–p90)`, or the statistic that the row's target speaks of in p50's place. */
function figure(row, name) {
  const f = row.figures[name];
  if (!f) return '–';
  if (f.n === 1) return `${f.p50}`;
  const tail =
    row.stat === 'p99' ? `–p99 ${f.p99}` : row.stat === 'max' ? `–max ${f.max}` : `–${f.p90}`;
  return `${f.p50} (${f.min}${tail})`;
}

function ratio(row) {
  const { torchrun, regroup } = row.figures;
  if (!torchrun || !regroup || !torchrun[row.stat]) return '';
  const value = regroup[row.stat] / torchrun[row.stat];
  return value < 0.095 ? value.toFixed(3) : value.toFixed(2);
}

function cells(row, columns) {
  const target = row.target
    ? `${row.target}${row.limit !== undefined && !row.target.startsWith(`${row.limit} `) && row.limit !== 0 ? ` = ${row.limit}` : ''}`
    : '';
  return [
    row.unit ? `${row.what}, ${row.unit}` : row.what,
    ...columns.map(name => figure(row, name)),
    ratio(row),
    target,
    row.verdict,
  ];
}

function header(columns) {
  const label = name => launchers.find(l => l.name === name)?.label ?? name;
  return ['', ...columns.map(label), '× torchrun', 'target', ''];
}

function textTable(rows) {
  // Some compare with more than the launchers.
  const measured = rows.flatMap(row => Object.keys(row.figures));
  const columns = [...new Set([...launchers.map(l => l.name), ...measured])];
  const lines = [header(columns), ...rows.map(r => cells(r, columns))];
  const widths = lines[0].map((_, i) => Math.max(...lines.map(line => line[i].length)));
  const table = lines.map(line =>
    line
      .map((c, i) => c.padEnd(widths[i]))
      .join('  ')
      .trimEnd(),
  );
  const notes = rows.flatMap(r => (r.note ? [`  ${r.what}: ${r.note}`] : []));
  return [...table, ...notes].join('\n');
}

function write(file, results) {
  fs.mkdirSync(path.dirname(path.join(repo, file)), { recursive: true });
  fs.writeFileSync(path.join(repo, file), `${JSON.stringify(results, null, 2)}\n`);
  console.log(`written to ${file}`);
}

/** Every row of a part. */
function writePart({ names, mark, floor, pages = ['docs/benchmarks.md'] }) {
  const rows = names.flatMap(name => report.benchmarks[name]).filter(r => !r.detail);
  const about = `${describeMachine(report.machine)}; all launchers in one run, in turns. p50 (min–p90).`;
  const notes = rows.flatMap(r => (r.note ? [`- ${r.what}: ${r.note}`] : []));
  const text = [[about, floor].filter(Boolean).join(' '), '', ...markdownTable(rows)];
  const lines = [...text, ...(notes.length ? ['', ...notes] : [])];
  for (const page of pages) replaceBetween(page, mark, lines);
}

/** Of what was measured last: the launcher and the store may have had runs of their own. */
function writeHeadlines() {
  const files = parts
    .filter(part => headlined.includes(part.mark))
    .map(part => path.join(repo, part.file));
  const kept = files.filter(fs.existsSync).map(file => JSON.parse(fs.readFileSync(file, 'utf8')));
  const measured = kept.flatMap(each => Object.values(each.benchmarks)).flat();
  const rows = headlines.flatMap(what => measured.filter(r => r.what.startsWith(what)).slice(0, 1));
  const about = `${describeMachine(kept[0].machine)}; p50 (min–p90), in turns. *Floor*: a C program that only does what must be done.`;
  const more = 'All rows, and what they mean: [docs/benchmarks.md](docs/benchmarks.md).';
  replaceBetween('README.md', 'bench', [`${about} ${more}`, '', ...markdownTable(rows)]);
}

function describeMachine(m) {
  return (
    `Measured ${m.date} on ${m.cpu}, ${m.memoryGb} GB${m.gpu ? `, ${m.gpu}` : ''}, Linux ${m.kernel}, Node ${m.node}, ` +
    `Python ${m.python}, PyTorch ${m.torch}${m.gpu ? '' : ' (CPU)'}`
  );
}

function markdownTable(rows) {
  const measured = new Set(rows.flatMap(r => Object.keys(r.figures)));
  const columns = launchers.filter(l => !l.old && measured.has(l.name)).map(l => l.name);
  const lines = [header(columns), ...rows.map(r => cells(r, columns))].map(
    line => `| ${line.join(' | ')} |`,
  );
  lines.splice(1, 0, `| --- |${' ---: |'.repeat(columns.length + 1)} --- | --- |`);
  return lines;
}

/** Rewrites what stands between the two marks in a page. */
function replaceBetween(page, mark, lines) {
  const file = path.join(repo, page);
  const [begin, end] = [`<!-- ${mark}:begin -->`, `<!-- ${mark}:end -->`];
  const text = fs.readFileSync(file, 'utf8');
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`${page} has no ${begin} … ${end}`);
  const body = [begin, ...lines, end].join('\n');
  fs.writeFileSync(file, text.slice(0, from) + body + text.slice(to + end.length));
  console.log(`${page}: table ${mark} rewritten`);
}
