import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { type CliRun, commandPath, isAlive, startProgram } from '../../harness.js';
import { inTime } from '../harness.js';
import { makeNetwork, type Network, type Place } from '../network.js';
import { type Burst, burstOf, described, dice, type Fault, type FaultKind } from './faults.js';
import {
  type AgentEnd,
  type Evidence,
  type Life,
  longestOutlived,
  type Met,
  violationsOf,
} from './invariants.js';

/**
 * A job of several agents, and what happens to it: bursts of faults, after each of which it must be whole again, and all
 * of its workers' lives must have kept what invariants.ts asks for.
 */

export interface SoakOptions {
  readonly minutes: number;
  readonly seed: number;
  /** Where all that was printed is kept, should something not hold. */
  readonly logs: string;
  readonly python: string;
  /** Told of each burst, in a line. */
  readonly say: (line: string) => void;
}

export interface SoakOutcome {
  readonly seed: number;
  readonly minutes: number;
  readonly bursts: number;
  readonly faults: Readonly<Partial<Record<FaultKind, number>>>;
  readonly rounds: number;
  readonly workers: number;
  /** From each burst's last fault, or its end, to the last worker that has met all others. */
  readonly wholeMs: readonly number[];
  readonly outlivedMs: number;
  readonly violations: readonly string[];
}

const nodes = 8;
const leaseMs = 3_000;
/** For a killed agent's workers to be gone, on a machine that's busy. */
const outlivesMs = 2_000;
/** For the job to be whole again, once nothing is wrong any more. */
const wholeWithinMs = 90_000;
const endsWithinMs = 60_000;
const port = 29_400;
/** What a wait for something that nobody tells of looks at. */
const pollMs = 20;

interface Running {
  readonly index: number;
  readonly run: CliRun;
}

type Told = Omit<Life, 'startedMs' | 'lastMs' | 'met'> & {
  readonly startedNs: number;
  readonly stamps: string;
};

/** What registers for the end, as a test does. */
function ends() {
  const all: (() => unknown)[] = [];
  return {
    // As much of a test as those need that start programs and networks.
    t: { teardown: (end: () => unknown) => all.unshift(end) } as unknown as Test,
    /** @returns what went wrong */
    async all(): Promise<readonly string[]> {
      const wrong: string[] = [];
      for (const end of all) {
        try {
          await end();
        } catch (error) {
          wrong.push(error instanceof Error ? error.message : String(error));
        }
      }
      return wrong;
    },
  };
}

const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6;

export async function soak(options: SoakOptions): Promise<SoakOutcome> {
  const { t, all: endAll } = ends();
  const violations: string[] = [];
  let world: World | undefined;
  let outcome: Omit<SoakOutcome, 'violations'> | undefined;
  try {
    world = await makeWorld(t, options);
    outcome = await run(world, options, violations);
  } catch (error) {
    violations.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  violations.push(...(await endAll()));
  if (violations.length > 0) world?.keepLogs(options.logs, violations);
  const { seed, minutes } = options;
  const nothing = { bursts: 0, faults: {}, rounds: 0, workers: 0, wholeMs: [], outlivedMs: 0 };
  return { ...{ seed, minutes, ...nothing }, ...outcome, violations };
}

async function run(
  world: World,
  { minutes, seed, say }: SoakOptions,
  violations: string[],
): Promise<Omit<SoakOutcome, 'violations'>> {
  const draw = dice(seed);
  const faults: Partial<Record<FaultKind, number>> = {};
  const wholeMs: number[] = [];
  let bursts = 0;
  let outlivedMs = 0;
  const beganMs = nowMs();
  await world.whole(beganMs);
  while (nowMs() - beganMs < minutes * 60_000 && violations.length === 0) {
    const burst = burstOf(draw, nodes, leaseMs);
    bursts++;
    for (const { kind } of burst.faults) faults[kind] = (faults[kind] ?? 0) + 1;
    const what = burst.faults.map(described).join(', ');
    world.note(`burst ${bursts}: ${JSON.stringify(burst)}`);
    await world.suffer(burst);
    const calmMs = nowMs();
    const { round, metMs } = await world.whole(calmMs);
    const tookMs = Math.max(0, metMs - calmMs);
    wholeMs.push(tookMs);
    const evidence = world.evidence();
    violations.push(...violationsOf(evidence, { leaseMs, outlivesMs }));
    outlivedMs = Math.max(outlivedMs, longestOutlived(evidence));
    world.forget();
    say(`burst ${bursts}: ${what}; whole in round ${round} after ${tookMs.toFixed(0)} ms`);
    await sleep(burst.restMs);
  }
  violations.push(...(await world.end()));
  const { rounds, workers } = world.counts();
  return { seed, minutes, bursts, faults, rounds, workers, wholeMs, outlivedMs };
}

type World = Awaited<ReturnType<typeof makeWorld>>;

async function makeWorld(t: Test, { python }: SoakOptions) {
  const folder = mkdtempSync(join(tmpdir(), 'regroup-soak-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const library = join(folder, 'skews_clock.so');
  execFileSync('cc', ['-shared', '-fPIC', '-o', library, resolve('test/fixtures/skews_clock.c')]);
  const network = await makeNetwork(t, nodes);
  if (network.links === undefined) throw new Error('no links to cut: see test/cluster/network.ts');
  const links: NonNullable<Network['links']> = network.links;
  const places = network.nodes;
  const notes: string[] = [];
  const runs: { readonly name: string; readonly run: CliRun }[] = [];
  const agents: Running[] = [];
  const told = new Map<string, { readonly life: Told; met?: Met; metMs?: number }>();
  /** Workers that a fault has ended, or will. */
  const doomed = new Set<number>();
  const agentEnds: AgentEnd[] = [];
  let serverEndsMs: readonly number[] = [];
  const counted = { rounds: new Set<string>(), workers: 0 };

  const note = (line: string): void => {
    notes.push(`${nowMs().toFixed(1)} ${line}`);
  };
  const words = listen(t, join(folder, 'words'), line => {
    note(line);
    const [word, json = ''] = line.split(/ (.*)/s);
    if (word === 'started') {
      const life = JSON.parse(json) as Told; // our own fixture has written it
      told.set(life.stamps, { life });
      counted.rounds.add(`${life.round} ${life.store}`);
      counted.workers++;
    } else if (word === 'met') {
      const { stamps, ...met } = JSON.parse(json) as Met & { readonly stamps: string };
      const known = told.get(stamps);
      if (known !== undefined) Object.assign(known, { met, metMs: nowMs() });
    }
  });

  function start(place: Place, name: string, program: readonly string[], env = {}): CliRun {
    const run = startProgram(t, program, {
      under: place.under,
      // An agent that was killed on the spot leaves its folder.
      mayLeave: /^torchelastic_/,
      env: { SOAK_STAMPS: folder, SOAK_WORDS: words, SOAK_NODE: place.name, ...env },
    });
    runs.push({ name: `${place.name} ${name}`, run });
    t.teardown(async () => {
      run.kill('SIGKILL');
      await run.ended;
    });
    return run;
  }

  async function serve(): Promise<CliRun> {
    const { hub } = network;
    const command = [commandPath('regroup-store'), `--host=${hub.address}`, `--port=${port}`];
    const run = start(hub, 'server', command);
    await run.line(/^ready /);
    return run;
  }

  let server = await serve();
  const command = [
    commandPath(),
    `--nnodes=2:${nodes}`,
    '--rdzv-backend=c10d',
    `--rdzv-endpoint=${network.hub.address}:${port}`,
    '--rdzv-id=soak',
    '--rdzv-conf=last_call_timeout=3',
    '--max-restarts=1000000',
    '--strikes=off',
    `--lease=${leaseMs}ms`,
    '--return-grace=500ms',
    '--grow-debounce=500ms',
    '--hang-silence=6s',
    '--grace=failure=2s,membership=2s',
    '--no-python',
    ...[python, '-S', '-E', '-u', resolve('test/fixtures/soak_worker.py')],
  ];

  function join_(node: number, skewS = 0): void {
    const place = places[node] as Place; // of as many as agents
    const index = (agents[node]?.index ?? -1) + 1;
    const skew = skewS === 0 ? {} : { LD_PRELOAD: library, SKEW_S: `${skewS}` };
    const env = { SOAK_AGENT: `${index}`, ...skew };
    agents[node] = { index, run: start(place, `agent ${index}`, command, env) };
  }
  for (let node = 0; node < nodes; node++) join_(node);

  async function goes(node: number, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const { index, run } = agents[node] as Running; // there's always one
    const { name } = places[node] as Place;
    const atMs = nowMs();
    run.kill(signal);
    if (signal === 'SIGKILL') agentEnds.push({ node: name, agent: index, atMs });
    const ended = await inTime(run.ended, endsWithinMs, `${name} doesn't end at ${signal}`);
    if (signal === 'SIGTERM') agentEnds.push({ node: name, agent: index, atMs: nowMs() });
    note(`${name} agent ${index} ended: ${ended.signal ?? ended.code}`);
  }

  /** The newest worker of a node. */
  function workerOf(node: number): number | undefined {
    const { name } = places[node] as Place;
    const own = [...told.values()].filter(({ life }) => life.node === name);
    const pid = own.at(-1)?.life.pid;
    return pid !== undefined && isAlive(pid) ? pid : undefined;
  }

  async function happens({ kind, node, forMs, skewS }: Fault): Promise<void> {
    note(kind + (node < 0 ? '' : ` ${places[node]?.name}`));
    const over = (): Promise<void> => sleep(forMs);
    switch (kind) {
      case 'worker exits':
        return hit(node, 'SIGUSR1');
      case 'worker is killed':
        return hit(node, 'SIGKILL');
      case 'worker hangs':
        return hit(node, 'SIGSTOP');
      case 'agent is killed':
      case 'agent leaves':
        await goes(node, kind === 'agent leaves' ? 'SIGTERM' : 'SIGKILL');
        await over();
        return join_(node, skewS);
      case 'agent stands still': {
        const { run } = agents[node] as Running;
        run.kill('SIGSTOP');
        await over();
        run.kill('SIGCONT');
        return;
      }
      case 'node is cut off':
      case 'node is not heard':
      case 'node does not hear':
        links.cut(node, ({ off: 'both', heard: 'out', hear: 'in' } as const)[endOf(kind)]);
        await over();
        links.heal(node);
        return;
      case 'server is killed':
        serverEndsMs = [...serverEndsMs, nowMs()];
        server.kill('SIGKILL');
        await server.ended;
        await over();
        server = await serve();
        return;
    }
  }

  function hit(node: number, signal: NodeJS.Signals): void {
    const pid = workerOf(node);
    if (pid === undefined) return;
    doomed.add(pid);
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended for another fault.
    }
  }

  /** The round of all agents, where all have met. */
  function wholeRound(): { readonly round: number; readonly metMs: number } | undefined {
    const newest = places.map(({ name }) =>
      [...told.values()].filter(({ life }) => life.node === name).at(-1),
    );
    const [first] = newest;
    const isIn = (each: (typeof newest)[number], node: number): boolean =>
      each?.met !== undefined &&
      each.life.agent === agents[node]?.index &&
      each.life.world === nodes &&
      each.life.round === first?.life.round &&
      each.life.store === first.life.store &&
      !doomed.has(each.life.pid) &&
      isAlive(each.life.pid);
    if (first === undefined || !newest.every(isIn)) return undefined;
    return {
      round: first.life.round,
      metMs: Math.max(...newest.map(each => each?.metMs ?? 0)),
    };
  }

  function lives(): readonly Life[] {
    return [...told.values()].map(({ life: { startedNs, stamps, ...life }, met }) => {
      const startedMs = startedNs / 1e6;
      const lastMs = Math.max(startedMs, lastStamp(stamps));
      return { ...life, startedMs, lastMs, ...(met === undefined ? {} : { met }) };
    });
  }

  return {
    note,
    async suffer({ faults }: Burst): Promise<void> {
      const all = faults.map(async fault => {
        await sleep(fault.atMs);
        await happens(fault);
      });
      await Promise.all(all);
    },
    async whole(sinceMs: number) {
      for (;;) {
        const found = wholeRound();
        if (found !== undefined) return found;
        const dead = agents.findIndex(({ run }) => !isAlive(run.pid));
        const name = places[dead]?.name;
        if (dead >= 0) throw new Error(`the agent of ${name} has ended by itself`);
        if (nowMs() - sinceMs > wholeWithinMs) {
          throw new Error(`no round of all ${nodes} nodes within ${wholeWithinMs / 1000} s`);
        }
        await sleep(pollMs);
      }
    },
    evidence: (): Evidence => ({ lives: lives(), ends: agentEnds, serverEndsMs }),
    /** What was before the round that's whole now can't be beside what comes. */
    forget(): void {
      for (const [key, { life }] of told) {
        if (isAlive(life.pid)) continue;
        told.delete(key);
        rmSync(life.stamps, { force: true });
      }
      doomed.clear();
      agentEnds.length = 0;
    },
    counts: () => ({ rounds: counted.rounds.size, workers: counted.workers }),
    /** Ends the job in order, and looks for what's left of it. */
    async end(): Promise<readonly string[]> {
      await Promise.all(places.map((_, node) => goes(node, 'SIGTERM')));
      const found = [...violationsOf(this.evidence(), { leaseMs, outlivesMs })];
      for (const place of [...places, network.hub]) {
        const own = place === network.hub ? 1 : 0; // the server's
        const rows = await inTime(
          start(place, 'sockets', ['cat', '/proc/net/tcp', '/proc/net/tcp6']).ended,
          endsWithinMs,
          `${place.name} doesn't tell its sockets`,
        );
        const isListening = (row: string): boolean => row.trim().split(/\s+/)[3] === '0A';
        const listening = rows.stdout.split('\n').filter(isListening);
        if (listening.length !== own) {
          found.push(`${place.name} listens still:\n${listening.join('\n')}`);
        }
      }
      server.kill('SIGTERM');
      await inTime(server.ended, endsWithinMs, "the server doesn't end");
      return found;
    },
    keepLogs(where: string, violations: readonly string[]): void {
      mkdirSync(where, { recursive: true });
      writeFileSync(join(where, 'violations'), `${violations.join('\n')}\n`);
      writeFileSync(join(where, 'happened'), `${notes.join('\n')}\n`);
      for (const { name, run } of runs) {
        if (name.endsWith('sockets')) continue;
        const text = `${run.stdout()}${run.stderr()}`.replace(/^\.\n/gm, '');
        writeFileSync(join(where, name.replaceAll(' ', '-')), text);
      }
    },
  };
}

/** The last word of a cut's kind. */
function endOf(kind: 'node is cut off' | 'node is not heard' | 'node does not hear') {
  return kind.split(' ').at(-1) as 'off' | 'heard' | 'hear';
}

/** A pipe that many write to, line by line. @returns its path */
function listen(t: Test, path: string, line: (line: string) => void): string {
  execFileSync('mkfifo', [path]);
  // Both of its ends, so that reading never meets an end.
  const kept = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const input = new Socket({ fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) });
  createInterface({ input }).on('line', line);
  t.teardown(() => {
    input.destroy();
    closeSync(kept);
  });
  return path;
}

function lastStamp(path: string): number {
  if (!existsSync(path)) return 0;
  const bytes = readFileSync(path);
  return bytes.length < 8 ? 0 : Number(bytes.readBigUInt64LE()) / 1e6;
}
