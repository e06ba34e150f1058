import { spawnSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { type CliRun, commandPath, type Ended, gone, startProgram } from '../harness.js';
import { type CutWay, makeNetwork, type Place } from './network.js';

export { noLinks } from './network.js';

/** For what a test waits for; far more than it takes on a machine that's busy with others. */
const patienceMs = 150_000;
/** Workers of one node that can be told something. */
const maxLocalRanks = 4;

/** Worker without PyTorch: see its head for what it says and obeys. */
export const bareWorker = ['--no-python', 'bash', resolve('test/fixtures/cluster_worker.sh')];
/** Worker that reduces with gloo, step by step, for PYTHON_EXEC with PyTorch. */
export const glooWorker = [resolve('test/fixtures/cluster_worker.py')];

/** What a worker says of itself once it runs and, with gloo, has met the others. */
export interface Started {
  readonly node: string;
  readonly pid: number;
  readonly rank: number;
  readonly localRank: number;
  readonly groupRank: number;
  readonly world: number;
  readonly round: number;
  readonly restartCount: number;
  readonly masterAddr: string;
  readonly masterPort: number;
}

/** A command that was started on a node: an agent, or another program. All its waits are bounded. */
export interface Agent {
  readonly pid: number;
  readonly node: ClusterNode;
  /** The next line of either stream that matches, as CliRun's. */
  line(pattern: RegExp): Promise<string>;
  /** The next of its workers that says that it runs, or the next one in that round. */
  started(round?: number): Promise<Started>;
  /** Settles when the command and all its workers are gone. */
  end(): Promise<Ended>;
  /** All that it has printed so far. */
  output(): string;
  kill(signal: NodeJS.Signals): void;
  /** Stops the agent's process, not its workers; it doesn't know. */
  pause(): void;
  resume(): void;
}

export interface ClusterNode extends Place {
  /** Starts the built command there, as one more agent. */
  start(args: readonly string[], options?: StartOptions): Agent;
  /** Starts any program there. */
  run(program: readonly string[], options?: StartOptions): Agent;
  /** Kills an agent, or what else it was, on the spot, its workers by its guardian, and starts another one with the same words. */
  restart(agent: Agent): Promise<Agent>;
  /** Tells a worker there what to do, once it reads; workers read one line at a time. */
  tell(order: string, localRank?: number): void;
  /** Loses what it sends or is sent. */
  cut(way?: CutWay): void;
  heal(): void;
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** A command in front, on the node, that executes the rest or waits for it. */
  readonly under?: readonly string[];
}

export interface Meeting {
  readonly nnodes: string;
  /** Where they meet. @default at the first node */
  readonly endpoint?: string;
  readonly options?: readonly string[];
  /** @default bareWorker */
  readonly worker?: readonly string[];
  readonly env?: StartOptions['env'];
  readonly under?: readonly string[];
  /** Of the job. @default job */
  readonly id?: string;
}

export interface Cluster {
  /** The N nodes; nothing runs on them yet. Their type lets tests name up to three. */
  readonly nodes: readonly [ClusterNode, ClusterNode, ClusterNode];
  /** Outside of them, on the same network. */
  readonly hub: ClusterNode;
  /** Of the job's nodes: host and port at the first of them. */
  readonly endpoint: string;
  /** Starts an agent of one and the same job on a node. */
  join(node: ClusterNode, meeting: Meeting): Agent;
  /** Starts a server outside of the nodes. */
  serve(): Promise<{ readonly endpoint: string; readonly server: Agent }>;
  /** All that was printed on all nodes, for people. */
  log(): string;
}

const meetingPort = 29_400;

/** Rejects where it takes longer. @param what what hasn't come, as a sentence's beginning */
export async function inTime<T>(awaited: Promise<T>, limitMs: number, what: string): Promise<T> {
  const over = new AbortController();
  const late = sleep(limitMs, undefined, { ref: false, signal: over.signal }).then(
    () => Promise.reject(new Error(`${what} within ${limitMs / 1000} s`)),
    () => new Promise<never>(() => {}), // aborted, as nobody waits any more
  );
  try {
    return await Promise.race([awaited, late]);
  } finally {
    over.abort();
  }
}

/** N nodes with names and addresses of their own. All that was started there ends with the test, which fails if something is left. */
export async function startCluster(t: Test, count: number): Promise<Cluster> {
  const network = await makeNetwork(t, count);
  const orders = makeOrders(t, [...network.nodes, network.hub]);
  const agents: { readonly agent: Agent; readonly words: readonly string[] }[] = [];
  const log = (): string => agents.map(({ agent, words }) => describe(agent, words)).join('\n');

  /** Rejects with what all nodes have printed, should it reject or take too long. */
  async function within<T>(what: string, awaited: Promise<T>): Promise<T> {
    try {
      return await inTime(awaited, patienceMs, 'not');
    } catch (error) {
      const why = error instanceof Error ? error.message.split('\n')[0] : String(error);
      throw new Error(`${what}: ${why}\n${log()}`);
    }
  }

  function nodeAt(place: Place, index?: number): ClusterNode {
    const links = (): NonNullable<typeof network.links> => {
      if (network.links === undefined || index === undefined) throw new Error('no link to cut');
      return network.links;
    };
    const again = new Map<Agent, () => Agent>();
    const run: ClusterNode['run'] = (program, options = {}) => {
      const started = startProgram(t, program, {
        under: [...place.under, ...(options.under ?? [])],
        // An agent that was killed on the spot leaves its folder.
        mayLeave: /^torchelastic_/,
        env: {
          CLUSTER_NODE: place.name,
          CLUSTER_ORDERS: orders.folder,
          GLOO_SOCKET_IFNAME: place.networkInterface,
          // Two cores may have to carry the workers of all nodes.
          OMP_NUM_THREADS: '1',
          ...options.env,
        },
      });
      const agent = agentOf(started, node, within);
      again.set(agent, () => run(program, options));
      agents.push({ agent, words: program });
      t.teardown(async () => {
        agent.kill('SIGKILL');
        await started.ended;
      });
      return agent;
    };
    const node: ClusterNode = {
      ...place,
      run,
      start: (args, options) => run([commandPath(), ...args], options),
      async restart(agent) {
        agent.kill('SIGKILL');
        await agent.end();
        const start = again.get(agent);
        if (start === undefined) throw new Error(`${place.name} has not started that agent`);
        return start();
      },
      tell: (order, localRank = 0) => orders.write(place, localRank, order),
      cut: (way = 'both') => links().cut(index ?? 0, way),
      heal: () => links().heal(index ?? 0),
    };
    return node;
  }

  // A test that names more than it has asked for fails at once.
  const nodes = network.nodes.map(nodeAt) as unknown as Cluster['nodes'];
  const hub = nodeAt(network.hub);
  // In a namespace of one's own any port is free.
  const port = network.links === undefined ? 30_000 + (process.pid % 2_000) : meetingPort;
  const endpoint = `${nodes[0].address}:${port}`;
  return {
    nodes,
    hub,
    endpoint,
    join(node, meeting) {
      const {
        nnodes,
        options = [],
        worker = bareWorker,
        id = 'job',
        env = {},
        under = [],
      } = meeting;
      const args = [
        `--nnodes=${nnodes}`,
        '--rdzv-backend=c10d',
        `--rdzv-endpoint=${meeting.endpoint ?? endpoint}`,
        `--rdzv-id=${id}`,
        ...(network.links === undefined ? [`--local-addr=${node.address}`] : []),
        ...options,
        ...worker,
      ];
      return node.start(args, { env, under });
    },
    async serve() {
      const server = hub.run([
        commandPath('regroup-store'),
        `--host=${hub.address}`,
        `--port=${port}`,
      ]);
      await server.line(/^ready /);
      return { endpoint: `${hub.address}:${port}`, server };
    },
    log,
  };
}

/** What a worker of each agent says of itself, in the same round. */
export function allStarted(agents: readonly Agent[], round?: number): Promise<Started[]> {
  return Promise.all(agents.map(agent => agent.started(round)));
}

/**
 * What a worker of each agent says of itself once all of them are in one world of so many, whatever rounds it takes till
 * then. What they have said of earlier rounds is let go.
 */
export async function gathered(agents: readonly Agent[], world: number): Promise<Started[]> {
  const last = await allStarted(agents);
  for (;;) {
    const newest = Math.max(...last.map(({ round }) => round));
    const late = last.findIndex(each => each.round < newest || each.world !== world);
    const agent = agents[late];
    if (agent === undefined) return last;
    last[late] = await agent.started();
  }
}

/** Has a worker of each node connect to its master; each line is `reached HOST`. */
export function reach(nodes: readonly ClusterNode[], agents: readonly Agent[]): Promise<string[]> {
  for (const node of nodes) node.tell('reach');
  return Promise.all(agents.map(agent => agent.line(/^reached/)));
}

/** Lets a worker of each node end with 0. */
export function succeed(nodes: readonly ClusterNode[]): void {
  for (const node of nodes) node.tell('exit 0');
}

/** Exit codes of the agents, once all are gone. */
export async function codes(agents: readonly Agent[]): Promise<(number | null)[]> {
  return (await Promise.all(agents.map(agent => agent.end()))).map(({ code }) => code);
}

function agentOf(
  run: CliRun,
  node: ClusterNode,
  within: <T>(what: string, awaited: Promise<T>) => Promise<T>,
): Agent {
  const workers: number[] = [];
  const { name } = node;
  const line = (pattern: RegExp): Promise<string> =>
    within(`${name}: a line like ${pattern}`, run.line(pattern));
  return {
    pid: run.pid,
    node,
    line,
    async started(round) {
      const pattern =
        round === undefined ? /^started \{/ : new RegExp(`^started \\{.*"round": ?${round}[,}]`);
      const text = (await line(pattern)).slice('started '.length);
      const started = JSON.parse(text) as Started; // our own fixtures have written it
      workers.push(started.pid);
      return started;
    },
    async end() {
      const ended = await within(`${name}: the end`, run.ended);
      // Nobody tells of a worker's end that is orphaned and has closed its output.
      await within(`${name}: the end of its workers`, gone(workers));
      return ended;
    },
    output: () => `${run.stdout()}${run.stderr()}`,
    kill: run.kill,
    pause: () => run.kill('SIGSTOP'),
    resume: () => run.kill('SIGCONT'),
  };
}

function describe(agent: Agent, words: readonly string[]): string {
  return `--- ${agent.node.name}, process ${agent.pid}: ${words.join(' ')}\n${agent.output()}`;
}

/**
 * A pipe with a name for each worker, whose both ends the test holds: an order waits there until a worker reads it,
 * and nobody waits for somebody at the other end.
 */
function makeOrders(t: Test, places: readonly Place[]) {
  const folder = mkdtempSync(join(tmpdir(), 'regroup-orders-'));
  const pipes = new Map<string, number>();
  t.teardown(() => {
    for (const pipe of pipes.values()) closeSync(pipe);
    rmSync(folder, { recursive: true });
  });
  const keys = places.flatMap(({ name }) =>
    Array.from({ length: maxLocalRanks }, (_, localRank) => `${name}-${localRank}`),
  );
  const made = spawnSync('mkfifo', keys, { cwd: folder, encoding: 'utf8' });
  if (made.status !== 0) throw new Error(`mkfifo ${keys}: ${made.error ?? made.stderr}`);
  for (const key of keys) {
    pipes.set(key, openSync(join(folder, key), constants.O_RDWR | constants.O_NONBLOCK));
  }
  return {
    folder,
    write({ name }: Place, localRank: number, order: string): void {
      const pipe = pipes.get(`${name}-${localRank}`);
      if (pipe === undefined) throw new Error(`nobody to tell: ${name}, local rank ${localRank}`);
      writeSync(pipe, `${order}\n`);
    },
  };
}
