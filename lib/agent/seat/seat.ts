import type { AgentEvent, WorkerExit, WorkerFailure } from '../../events.js';
import { native } from '../../native/addon.js';
import type { NativeEvent } from '../../native/events.js';
import type { Settings } from '../../options/launch-options.js';
import { agentServes } from '../../options/store.js';
import type { FormedRound, Rendezvous } from '../../rendezvous/rendezvous.js';
import type { Together } from '../../rendezvous/together.js';
import { everyHost } from '../../store/master-hosts.js';
import { hostname } from '../../system/hostname.js';
import { signalName } from '../../util/signals.js';
import { unreachable } from '../../util/unreachable.js';
import { describeExit } from '../../worker-exit.js';
import type { Env } from '../../workers/env.js';
import { type Core, startCore } from '../core.js';
import { rendezvousOf, servedHosts } from '../nodes.js';
import {
  type Action,
  type Failed,
  type Heard,
  type Order,
  type Seat,
  type SeatEvent,
  step,
  type TorchFailure,
} from './step.js';

export type { Heard, Order } from './step.js';

/** A place in a job, held for an agent of torchrun. */
export interface HeldSeat {
  order(order: Order): void;
  /** The agent is gone without a word: this process is killed, and its guardian kills what the agent has left. */
  avenge(): void;
  /** Settles once the place is given up. */
  readonly ended: Promise<void>;
}

export interface SeatOptions {
  readonly settings: Settings;
  /** Of the agent. */
  readonly env: Env;
  /** What its workers have as REGROUP_COOKIE, by which the guardian finds them. */
  readonly cookie: string;
  /** torchrun is told. */
  hear(heard: HeardRound | Exclude<Heard, { event: 'round' }>): void;
  /** People are. */
  tell(event: AgentEvent): void;
}

/** A round, as torchrun's handler is told of it. */
export interface HeardRound {
  readonly event: 'round';
  readonly round: number;
  readonly rank: number;
  /** Nodes. */
  readonly nodes: number;
  readonly firstRank: number;
  readonly worldSize: number;
  readonly masterAddr: string;
  readonly masterPort: number;
  /** Whether an agent serves the workers' store there; else the worker of rank 0 does. */
  readonly agentStore: boolean;
}

/** Part of a lease after the fence, in which torchrun may stop its workers by itself; the fence leaves a fifth of it. */
const stopPart = 0.1;
/** For the job's word on a failure after which this agent ends in any case. */
const verdictMs = 10_000;

/**
 * Holds a node's place.
 *
 * @throws ERR_NATIVE_MISSING, ERR_MACHINE
 */
export function holdSeat({ settings, env, cookie, hear, tell }: SeatOptions): HeldSeat {
  const localWorldSize = Number(settings.nprocPerNode);
  const agentStore = agentServes(settings.agentStore, env);
  const job = { settings, localWorldSize, agentStore, runId: settings.runId ?? '' };
  const happenings: SeatEvent[] = [];
  let seat: Seat = { is: 'out' };
  let busy = false;
  let core: Core | undefined;
  let formed: { readonly round: number; readonly atMs: number } | undefined;
  let isEnding = false;
  let resolveEnd: () => void = () => {};
  const ended = new Promise<void>(resolve => {
    resolveEnd = resolve;
  });
  let counting: NodeJS.Timeout | undefined;
  const rendezvous: Rendezvous & Partial<Together> = rendezvousOf(job, {
    core: coreNow,
    happen(event) {
      if (event.event !== 'broken') return happen({ event: 'told', told: event });
      const { error } = event;
      happen({ event: 'lost', why: error instanceof Error ? error.message : String(error) });
    },
    tell,
    nowMs,
  });
  coreNow().supervisor.beginGuest(cookie);

  function coreNow(): Core {
    core ??= startCore(job, servedHosts(settings) ?? everyHost, onEvents, report => {
      if (report.report === 'line')
        tell({ event: 'store-trouble', line: report.line, atMs: nowMs() });
    });
    return core;
  }

  function onEvents(events: readonly NativeEvent[]): void {
    for (const event of events) if (event.event === 'fenced') rendezvous.fenced?.(event.atMs);
  }

  function happen(event: SeatEvent): void {
    happenings.push(event);
    if (busy) return;
    busy = true;
    for (let next = happenings.shift(); next !== undefined; next = happenings.shift()) {
      const [after, actions] = step(seat, next, describeEnd);
      seat = after;
      for (const action of actions) perform(action);
    }
    busy = false;
  }

  function perform(action: Action): void {
    switch (action.do) {
      case 'join':
        rendezvous.join();
        return;
      case 'announce':
        rendezvous.announce(action.round);
        return;
      case 'report':
        report(action);
        return;
      case 'succeed':
        rendezvous.succeed(action.round);
        return;
      case 'conclude':
        rendezvous.conclude([]);
        return;
      case 'leave':
        rendezvous.leave();
        return;
      case 'hear':
        hear(action.heard.event === 'round' ? roundOf(action.heard.formed) : action.heard);
        return;
      case 'pause':
        setTimeout(() => happen({ event: 'pause-over' }), action.ms);
        return;
      case 'count-down':
        counting = setTimeout(avenge, settings.leaseMs * stopPart);
        return;
      case 'stop-counting':
        clearTimeout(counting);
        return;
      case 'end':
        void end();
        return;
      default:
        unreachable(action);
    }
  }

  function roundOf(told: FormedRound): HeardRound {
    const { round, place, master } = told;
    if (formed !== undefined && master === undefined) core?.closeTable(formed.round);
    formed = { round, atMs: nowMs() };
    // A job of one node leaves its store to the agent.
    const at = master ?? { host: settings.masterAddr, port: coreNow().openTable(round).port };
    return {
      event: 'round',
      round,
      rank: place.groupRank,
      nodes: place.groupWorldSize,
      firstRank: place.firstRank,
      worldSize: place.worldSize,
      masterAddr: at.host,
      masterPort: at.port,
      agentStore: agentStore && master?.isWorkers !== true,
    };
  }

  function report(of: Extract<Action, { do: 'report' }>): void {
    const { round, firstRank } = of;
    const now = nowMs();
    const failures = of.failures.length === 0 ? [unknownFailure] : of.failures;
    rendezvous.report({
      round,
      failures: failures.map((each, index) => failureOf(each, firstRank, index === 0)),
      ranMs: now - (formed?.atMs ?? now),
      atMs: now,
      progress: core?.highestStep(round) ?? 0,
      isStuck: false,
      chance: Math.random(),
    });
    if (seat.is === 'reporting' && seat.then === 'end')
      setTimeout(() => void end(), verdictMs).unref();
  }

  async function end(): Promise<void> {
    if (isEnding) return;
    isEnding = true;
    clearTimeout(counting);
    await rendezvous.close?.();
    core?.supervisor.endGuest(cookie);
    await core?.close();
    resolveEnd();
  }

  return {
    order: order => happen({ event: 'asked', order }),
    avenge,
    ended,
  };
}

/** The guardian kills what bears the cookie, and has the server end the lease once nobody is left. */
function avenge(): void {
  process.kill(process.pid, 'SIGKILL');
}

function nowMs(): number {
  return native().monotonicMs();
}

/** What's known where torchrun keeps its failures to itself. */
const unknownFailure: TorchFailure = {
  localRank: 0,
  pid: 0,
  exitcode: 1,
  message: "workers of an agent of torchrun have failed, and that one's output says how",
  timestamp: 0,
};

/** torchrun's SIGTERM, and its SIGKILL, end those that are left. */
const stopSignals: readonly string[] = ['SIGTERM', 'SIGKILL'];

function failureOf(
  { localRank, pid, exitcode, message, timestamp }: TorchFailure,
  firstRank: number,
  isFirst: boolean,
): WorkerFailure {
  const exit = exitOf(exitcode);
  const isEcho = !isFirst && exit.how === 'signaled' && stopSignals.includes(exit.signal);
  return {
    rank: firstRank + localRank,
    localRank,
    pid,
    exit,
    exitcode,
    cause: isEcho ? 'stopped-by-us' : 'own',
    duringStop: isEcho,
    durationMs: 0,
    message,
    traceback: message,
    timestamp,
    host: hostname(),
  };
}

function exitOf(exitcode: number): WorkerExit {
  if (exitcode >= 0) return { how: 'exited', code: exitcode };
  const signal = signalName(-exitcode) ?? `SIG${-exitcode}`;
  return { how: 'signaled', signal, signalNumber: -exitcode, coreDumped: false };
}

function describeEnd({ because, failures }: Failed): string {
  const [root] = failures ?? [];
  const what = `the job has failed (${because})`;
  if (root === undefined) return what;
  const where = root.node === undefined ? '' : ` on ${root.node}`;
  return `${what}: first worker ${root.rank}${where}, which ${describeExit(root.exit)}`;
}
