import type { UnreachableEvent } from '../../events/nodes.js';
import type { AgentEvent, GpuHolder, LeftProcess, RunResult } from '../../events.js';
import { duration } from '../../util/duration.js';
import { unreachable } from '../../util/unreachable.js';
import { restartsLine } from './torchrun-report.js';

/** Events in our own words, each in one line unless it's a stack. */

export type Event<Name extends AgentEvent['event']> = Extract<AgentEvent, { event: Name }>;

export function describeStuck({
  worker,
  state,
  waitChannel,
  kernelStack,
}: Event<'worker-stuck'>): string {
  const { rank, localRank, pid } = worker;
  const where = waitChannel === '' ? '' : `, waiting in ${waitChannel}`;
  const who = `worker ${rank} (local ${localRank}, pid ${pid})`;
  const stack = kernelStack === '' ? [] : kernelStack.split('\n').map(line => `  ${line}`);
  return [
    `${who} can't be killed: it's stuck in the kernel in state ${state}${where}`,
    ...stack,
  ].join('\n');
}

export function describeHolder({
  pid,
  command,
  uid,
  devices,
  usedBytes,
  isOurs,
}: GpuHolder): string {
  const what = `GPU ${devices.join(', ')} ${devices.length === 1 ? 'is' : 'are'}`;
  const who = command === undefined ? 'ended' : `${command}, uid ${uid}`;
  const memory = usedBytes === undefined ? '' : `, ${Math.round(usedBytes / 2 ** 20)} MiB`;
  const holder = `pid ${pid} (${who}${memory})`;
  return isOurs
    ? `${what} still held by ${holder}, a process of this job that doesn't go`
    : `${what} held by ${holder}, which isn't of this job`;
}

export function describeRefusal({ worker, address }: Event<'connect-refused'>): string {
  const { rank, localRank, pid } = worker;
  return (
    `worker ${rank} (local ${localRank}, pid ${pid}) keeps connecting to ${address}, where nobody listens; ` +
    "if rank 0 is to serve a store there (init_method='tcp://…'), start with --agent-store=off"
  );
}

/** Processes that are named in one line, at most. */
const maxNamed = 8;

const sources = {
  signal: 'a signal',
  caller: 'the caller',
  file: '--preempt-file',
  url: '--preempt-url',
} as const;

/** Why a round of several nodes is over. */
export function describeBreak({ round, because, nodes }: Event<'round-broken'>): string {
  const who = nodes.length === 0 ? 'a node' : nodes.join(', ');
  const what = {
    failed: `workers of ${who} have failed`,
    lost: `${who} was lost`,
    left: `${who} leaves`,
    growth: `${who} came`,
  }[because];
  return `round ${round} is over: ${what}`;
}

/** What this node can't reach of another one, and what to try. */
export function describeUnreachable(event: UnreachableEvent): string {
  const { round, address, here, there, reason, limitMs } = event;
  const where = `${address} on ${there}, tried for ${duration(limitMs)}: ${reason}`;
  const what =
    event.event === 'store-unreachable'
      ? `${here} can't reach the store of round ${round}'s workers, ${where}. Workers here will wait for it. Let that port pass the firewall between the two (--port-range=FIRST-LAST has it within a range)`
      : `${here} can't connect to ${where}. Workers that connect to each other, as those of NCCL and gloo do, may hang. Let all ports that the kernel chooses (net.ipv4.ip_local_port_range) pass the firewall between the two`;
  return `${what}; where it's another address that others reach that node at, start it with --interface or --local-addr`;
}

/** Why a node takes no part for a while. */
export function describeLeftOut({ node, failures, perMs }: Event<'node-left-out'>): string {
  const time = duration(perMs);
  return `${node} was the root cause of ${failures} failures within ${time}: it's left out for ${time}, where the others are enough (--strikes)`;
}

/** Nodes that are named in one line, at most. */
const maxNodesNamed = 16;

/** How many wait, and what they take. */
export function describeStandbys(
  { pids, memoryBytes = [] }: Event<'standbys-ready'>,
  hasStarted: boolean,
): string {
  const most = Math.max(...memoryBytes);
  const cost = memoryBytes.length === 0 ? '' : `, with ${Math.round(most / 1e6)} MB each at most`;
  const what = hasStarted ? 'next restart' : 'first round';
  return `${pids.length} standbys wait for the ${what}${cost}`;
}

/** What this node waits for before its workers start, or once they have ended. */
export function describeWait(wait: Event<'waiting-for-nodes'>): string {
  switch (wait.waitsFor) {
    case 'endpoint':
      return `waiting for ${wait.endpoint}, where nobody answers; up to ${duration(wait.limitMs)}`;
    case 'ends':
      return `waiting for ${named(wait.nodes)} to tell what became of the workers there; up to ${duration(wait.limitMs)}`;
    case 'peers': {
      const { done, nodes, running } = wait;
      return `this node's workers have ended with 0, as those of ${done} of ${nodes} nodes have; waiting for ${named(running)}`;
    }
    case 'place': {
      const { round, nodes, maxNodes, spares, limitMs } = wait;
      if (spares !== undefined && limitMs !== undefined) {
        return `the job is full: it has ${nodes} nodes and ${spares} ${spares === 1 ? 'spare' : 'spares'} (--spares); waiting for one of them to go, up to ${duration(limitMs)}`;
      }
      return nodes >= maxNodes
        ? `the round is full: waiting for a place among its ${nodes} nodes`
        : `waiting for round ${round}, which has ${nodes} of ${maxNodes} nodes, to end for more of them`;
    }
    case 'nodes': {
      const { endpoint, minNodes, maxNodes, here, ending, limitMs } = wait;
      const limit = `up to ${duration(limitMs)}`;
      if (ending.length > 0) return `waiting for workers of ${named(ending)} to end; ${limit}`;
      const isEnough = here.length >= minNodes;
      const what = isEnough ? 'more nodes' : 'nodes';
      const most = isEnough ? `at most ${maxNodes}` : minNodes;
      const who = here.length === 0 ? '' : ` (${named(here)})`;
      const verb = here.length === 1 ? 'is' : 'are';
      return `waiting for ${what}: ${here.length} of ${most} ${verb} here${who}, at ${endpoint}, ${limit}`;
    }
    default:
      return unreachable(wait);
  }
}

/** Options that people needn't have given, as they would have. */
export function describeScheduler({ scheduler, taken }: Event<'scheduler-read'>): string {
  const options = taken.map(({ option, value, from }) => `${option}=${value} (${from})`);
  return `from ${scheduler}: ${options.join(' ')}`;
}

/** That the server of several nodes has gone, or is back. */
export function describeServer(event: Event<'server-gone' | 'server-back'>): string {
  const { endpoint } = event;
  if (event.event === 'server-back') return `${endpoint} answers again`;
  return `nobody listens at ${endpoint} any more: what the nodes meet at has ended, and no round can begin; workers run on, up to ${duration(event.limitMs)}`;
}

/** Who reaches a server that takes everybody. Whoever is told knows what to do about it by what follows. */
export function describeReach(addresses: readonly string[], port: number): string {
  const where = addresses.length === 0 ? 'this machine' : named(addresses);
  return `whoever reaches port ${port} of ${where}`;
}

/** That the others are torchrun's. */
export function describeTorchrun({ endpoint, release }: Event<'joins-torchrun'>): string {
  return `agents of torchrun (PyTorch ${release}) meet at ${endpoint}: this node takes part as they do`;
}

/** A server without a token. */
export function describeOpen({ addresses, port }: Event<'open-to-all'>): string {
  return `${describeReach(addresses, port)} can take part in the job, or end it; REGROUP_TOKEN or --rdzv-conf token-file=PATH, the same on all nodes, keeps others out`;
}

function named(nodes: readonly string[]): string {
  return firstOf(nodes, maxNodesNamed);
}

/** Some names, and how many more there are. */
export function firstOf(names: readonly string[], most: number): string {
  const more = names.length - most;
  const some = names.slice(0, most).join(', ');
  return more > 0 ? `${some} and ${more} more` : some;
}

/** The end of a wait. */
export function describePlace({ round, ...place }: Event<'round-started'>): string {
  const { groupRank, groupWorldSize } = place;
  return `round ${round} starts with ${groupWorldSize} nodes; this one has group rank ${groupRank}`;
}

export function describePreemption({ by, reaches, signal, limitMs }: Event<'preempting'>): string {
  if (reaches === 'nobody') return `preemption, says ${sources[by]}: nothing is started any more`;
  const told = signal === undefined ? 'are told by the store' : `get ${signal}`;
  const limit = limitMs === undefined ? '' : `, SIGTERM in ${duration(limitMs)}`;
  return `preemption, says ${sources[by]}: workers ${told}${limit}; nothing is restarted any more`;
}

export function describeTrouble({
  worker,
  path,
  code,
  droppedLines,
}: Event<'output-trouble'>): string {
  const lost = droppedLines > 0 ? `; ${droppedLines} lines are lost` : '';
  const why = code === 'ETIMEDOUT' ? 'it takes nothing' : code;
  return `output of worker ${worker.rank} can't be written to ${path}: ${why}${lost}`;
}

export const reasons: Readonly<
  Record<Extract<RunResult, { outcome: 'failed' }>['because'], string>
> = {
  'no-restarts-left': 'no restarts are left',
  'too-many-at-once': 'too many restarts within the time of --restart-window',
  rule: 'a rule says so',
  'no-requeue': 'a rule says so, and that it should not be queued again',
  'first-round': 'its first round failed within the time of --fail-fast',
  'no-progress': 'rounds failed one after the other without progress',
  'node-unfit': 'a worker is stuck in the kernel; this node is not fit for another round',
};

export function describeRestart(event: Event<'restarting'>): string {
  const { restartsLeft, maxRestarts, windowLeft, delayMs, rule } = event;
  const what = Number.isFinite(maxRestarts)
    ? restartsLine(restartsLeft, maxRestarts)
    : 'restarting';
  const window = windowLeft === undefined ? '' : `, ${windowLeft} within the window`;
  return `${what}${window}${delayMs > 0 ? `, in ${duration(delayMs)}` : ''}${by(rule)}`;
}

export function by(rule: string | undefined): string {
  return rule === undefined ? '' : ` (${rule})`;
}

/** Attempts that are left as torchrun counts them: before the restart. */
export function attempts({ restartsLeft, maxRestarts, windowLeft }: Event<'restarting'>): string {
  return Number.isFinite(maxRestarts)
    ? `${restartsLeft + 1}/${maxRestarts} attempts left`
    : `${windowLeft ?? 0} attempts left within the window`;
}

/** What a failure leads to, as far as it's known when it happens. */
export function outlook(restartsLeft: number, maxRestarts: number): string {
  if (restartsLeft > 0) return restartsLine(restartsLeft - 1, maxRestarts);
  return maxRestarts === 0
    ? 'the job ends (--max-restarts is 0)'
    : 'no restarts left, the job ends';
}

/** What nobody has asked for, and isn't there, is of interest only to who looks for it. */
export function describeDoor(
  event: Event<'door-open' | 'door-trouble'>,
): readonly ['INFO' | 'WARNING', string] {
  if (event.event === 'door-open') return ['INFO', `${event.door} is served at ${event.at}`];
  return ['WARNING', `no ${event.door}: ${event.reason}`];
}

export const fencedWords =
  'this node has not reached the others in time: its workers are killed before others may take their place';

export const orderedWords = 'another round was asked for; it costs no restart';

/** `2 processes: rclone (pid 4711), python3 (pid 4712)` */
export function describeProcesses(processes: readonly LeftProcess[]): string {
  const count = `${processes.length} ${processes.length === 1 ? 'process' : 'processes'}`;
  const named = processes
    .slice(0, maxNamed)
    .map(({ pid, command }) => (command === '' ? `pid ${pid}` : `${command} (pid ${pid})`));
  return `${count}: ${named.join(', ')}${processes.length > maxNamed ? ', …' : ''}`;
}
