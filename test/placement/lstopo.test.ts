import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { overviewOf } from '../../lib/machine/overview.js';
import { thisMachine } from '../../lib/machine/this-machine.js';
import { formatList, parseList } from '../../lib/util/cpu-list.js';
import { allowedOf, filesOf, type Machine, machines, sourceOf } from './machine.js';

/** hwloc's own reading is the judge of ours. */
const lstopo = 'lstopo-no-graphics';
const has = spawnSync(lstopo, ['--version']).status === 0;
const skip = has ? false : 'needs hwloc: apt-get install hwloc-nox';

interface Judged {
  /** CPUs of each NUMA node that has some, by its number. */
  readonly nodes: Readonly<Record<string, string>>;
  /** CPUs of each last-level cache, as far as they're of one node, and of each core. */
  readonly caches: readonly string[];
  readonly cores: readonly string[];
}

/** The kernel's masks: words of 32 bits, the highest first. */
function maskOf(list: string): string {
  let mask = 0n;
  for (const cpu of parseList(list) ?? []) mask |= 1n << BigInt(cpu);
  const digits = mask.toString(16);
  const padded = digits.padStart(Math.ceil(digits.length / 8) * 8, '0');
  return `${padded.match(/.{8}/g)?.join(',')}\n`;
}

function listOf(mask: string): string {
  const words = mask.split(',').map(word => BigInt(word === '' ? 0 : word));
  const bits = words.reduce((sum, word) => (sum << 32n) | word, 0n).toString(2);
  const cpus = [...bits].reverse().flatMap((bit, cpu) => (bit === '1' ? [cpu] : []));
  return formatList(cpus);
}

/** As a folder, with the masks that hwloc reads where we read lists. */
function write(folder: string, machine: Machine): void {
  const files: Record<string, string> = { ...filesOf(machine) };
  const all = formatList(allowedOf(machine));
  const packages = new Map<string, number[]>();
  for (const [path, text] of Object.entries(filesOf(machine))) {
    if (path.endsWith('/cpulist')) files[path.replace(/list$/, 'map')] = maskOf(text);
    if (path.endsWith('/shared_cpu_list')) {
      files[path.replace(/list$/, 'map')] = maskOf(text);
      files[path.replace(/shared_cpu_list$/, 'size')] = '1024K\n';
    }
    if (path.endsWith('/thread_siblings_list')) {
      const topology = dirname(path);
      const core = parseList(text)?.[0] ?? 0;
      files[`${topology}/core_cpus`] = maskOf(text);
      files[`${topology}/thread_siblings`] = maskOf(text);
      files[`${topology}/core_id`] = `${core}\n`;
      const cpu = Number(/cpu(\d+)\//.exec(path)?.[1]);
      const id = files[`${topology}/physical_package_id`] ?? '';
      packages.set(id, [...(packages.get(id) ?? []), cpu]);
    }
  }
  for (const cpus of packages.values()) {
    const mask = maskOf(formatList(cpus.sort((a, b) => a - b)));
    for (const cpu of cpus) {
      files[`/sys/devices/system/cpu/cpu${cpu}/topology/package_cpus`] = mask;
      files[`/sys/devices/system/cpu/cpu${cpu}/topology/core_siblings`] = mask;
    }
  }
  files['/sys/devices/system/cpu/online'] = `${all}\n`;
  files['/sys/devices/system/cpu/possible'] = `${all}\n`;
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
}

function common(one: string, other: string): string {
  const among = new Set(parseList(other));
  return formatList((parseList(one) ?? []).filter(cpu => among.has(cpu)));
}

function judge(args: readonly string[]): Judged {
  const { stdout, stderr } = spawnSync(lstopo, [...args, '--whole-io', '--of', 'xml'], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  if (!stdout.includes('<topology')) throw new Error(stderr);
  const objects = [...stdout.matchAll(/<object type="(\w+)"([^>]*)/g)].map(
    ([, type, text = '']) => ({
      type,
      index: /os_index="(\d+)"/.exec(text)?.[1] ?? '',
      cpus: listOf(/ cpuset="([^"]*)"/.exec(text)?.[1] ?? ''),
    }),
  );
  const cpusOf = (type: string): string[] =>
    objects
      .filter(each => each.type === type)
      .map(({ cpus }) => cpus)
      .sort();
  const [caches = []] = ['L3Cache', 'L2Cache'].map(cpusOf).filter(some => some.length > 0);
  const nodes = Object.fromEntries(
    objects
      .filter(({ type, cpus }) => type === 'NUMANode' && cpus !== '')
      .map(({ index, cpus }) => [index, cpus]),
  );
  return {
    nodes,
    // With sub-NUMA clustering several nodes share one.
    caches: caches
      .flatMap(cache => Object.values(nodes).map(node => common(cache, node)))
      .filter(cpus => cpus !== '')
      .sort(),
    cores: cpusOf('Core'),
  };
}

function ours(source: Parameters<typeof overviewOf>[0]): Omit<Judged, 'cores'> & { cores: number } {
  const { nodes } = overviewOf(source);
  return {
    nodes: Object.fromEntries(
      nodes.filter(({ cpus }) => cpus !== '').map(({ node, cpus }) => [String(node), cpus]),
    ),
    caches: nodes.flatMap(({ caches }) => caches).sort(),
    cores: nodes.reduce((sum, { cores }) => sum + cores, 0),
  };
}

function compare(t: Test, source: Parameters<typeof overviewOf>[0], judged: Judged): void {
  t.same(ours(source), { ...judged, cores: judged.cores.length });
}

for (const [name, machine] of machines.filter(([, { allowed }]) => allowed === undefined)) {
  t.test(`hwloc reads ${name} as we do`, { skip }, async t => {
    const folder = t.testdir();
    write(folder, machine);

    compare(t, sourceOf(filesOf(machine)), judge(['-i', folder]));
  });
}

t.test('hwloc reads this machine as we do', { skip }, async t => {
  compare(t, thisMachine, judge([]));
});
