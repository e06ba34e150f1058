import type { AgentEvent } from '../../events.js';
import type { NativeEvent } from '../../native/events.js';
import type { NativeGroupPlan } from '../../native/plan.js';
import type { NativeSupervisor } from '../../native/supervisor.js';
import type { Settings } from '../../options/launch-options.js';
import type { Act } from '../../preload/learned.js';
import { decodeMessage, type Message } from '../../preload/standby.js';
import { hasBytes, textOf } from '../../util/bytes.js';
import { describeErrno } from '../../util/errno.js';
import { randomName } from '../../util/random.js';
import { unreachable } from '../../util/unreachable.js';
import type { Job } from '../../workers/job.js';
import { createCosts } from './costs.js';
import { createImports } from './imports.js';
import { discarding, misfit, orderMessages, proofPlan, standbyPlan, takenPlan } from './plans.js';
import { createReadAhead } from './read-ahead.js';
import { createRoom } from './room.js';
import {
  initialStandbys,
  mayBeTaken,
  type StandbyAction,
  type StandbyHappening,
  type StandbyPolicy,
  standbyStep,
} from './step.js';

/** For torch from a cold disk, beside workers that train. */
const parkMs = 300_000;
const maxLost = 3;
/** For those that have to answer only that they begin. */
const answerMs = 10_000;

/** What a round that standbys have taken over is started with. */
export interface Taken {
  readonly plan: NativeGroupPlan;
  readonly orders: readonly Buffer[];
  /** For them to begin; who hasn't by then is replaced by a cold worker. */
  readonly answerMs: number;
}

/** This node's standbys, made while a round runs, or while the first is awaited, and taken over by the next one. */
export interface Standbys {
  /**
   * Begins to look for what an earlier run has learned of the script's imports, and has it read ahead.
   *
   * @param mayStart when processes may be started; absent: at once
   * @param expected what the first round's plan will be, as far as standbys must know
   */
  launch(mayStart: Promise<void> | undefined, expected: () => NativeGroupPlan): void;
  /** The plan for a round that starts without them. */
  cold(plan: NativeGroupPlan): NativeGroupPlan;
  /** A round runs. @param isLast whether no other can follow */
  roundRuns(
    plan: NativeGroupPlan,
    which: { readonly round: number; readonly isLast: boolean },
  ): void;
  roundOver(): void;
  /** What was told of a group of theirs. */
  onEvent(event: NativeEvent): void;
  /** The standbys for a round that starts; absent: it starts as usual. */
  take(plan: NativeGroupPlan): Taken | undefined;
  /** Whether one of those that were taken last is among the workers that have started: each that refuses, or is silent, is replaced. */
  areAmong(workers: readonly number[]): boolean;
  /** One refuses the order that it was given. */
  onRefused(message: Buffer): void;
  /** There are no more from now on. Resolves when what was learned is kept; on a dead disk a second later. */
  close(): Promise<void>;
}

export interface StandbySurroundings {
  supervisor(): NativeSupervisor;
  tell(event: AgentEvent): void;
  nowMs(): number;
}

export function createStandbys(job: Job, around: StandbySurroundings): Standbys {
  const { supervisor, tell, nowMs } = around;
  const { settings } = job;
  const timers = new Set<NodeJS.Timeout>();
  const groups = new Map<number, NativeGroupPlan>();
  /** What those have said that the round which starts was given to. */
  const refusals = new Set<string>();
  const policy = policyOf(settings, job);
  const imports = policy && createImports(job, { tell, nowMs });
  const readAhead = createReadAhead(job, { supervisor });
  let state = initialStandbys(policy);
  /** The round that runs, or that the first one is expected to be. */
  let running: NativeGroupPlan | undefined;
  let madeAtMs = 0;
  let pids: readonly number[] = [];
  /** What the standby of local rank 0 has loaded. */
  let loaded: readonly string[] = [];
  let taken: number | undefined;
  const costs = createCosts();
  /** The last round that has had the machine to itself for long enough, or the first one, while it's awaited. */
  let due: number | 'awaited' | undefined;
  const room =
    policy &&
    createRoom(policy.afterMs, {
      need: () => costs.need(policy.count),
      make: makeDue,
      hold: reason => happen({ event: 'hold', reason }),
      release: () => {
        happen({ event: 'release' });
        makeDue();
      },
    });

  function happen(happening: StandbyHappening): void {
    const [after, actions] = standbyStep(state, happening);
    state = after;
    for (const action of actions) perform(action);
  }

  /** A round that has begun since then isn't due yet. */
  function makeDue(): void {
    if (due === 'awaited') happen({ event: 'prestart' });
    else if (due !== undefined) happen({ event: 'due', round: due });
  }

  function perform(action: StandbyAction): void {
    switch (action.do) {
      case 'arm':
        later(action.afterMs, () => {
          due = action.round;
          room?.ask();
        });
        return;
      case 'limit':
        later(action.afterMs, () => happen({ event: 'overdue', group: action.group }));
        return;
      case 'prove':
        start(action.group, proofPlan);
        return;
      case 'make':
        make(action.group);
        return;
      case 'discard':
        if (groups.delete(action.group)) supervisor().stopGroup(action.group, discarding);
        return;
      case 'take-over':
        taken = action.group;
        return;
      case 'tell-parked':
        imports?.done(loaded);
        tellReady();
        return;
      case 'tell-trouble':
        tell({ event: 'standby-trouble', reason: action.reason, atMs: nowMs() });
        return;
      default:
        unreachable(action);
    }
  }

  function tellReady(): void {
    const memoryBytes = costs.memoryBytes(pids.length);
    const cost = memoryBytes === undefined ? {} : { memoryBytes };
    tell({ event: 'standbys-ready', pids, ...cost, atMs: nowMs() });
  }

  function later(afterMs: number, then: () => void): void {
    const timer = setTimeout(() => {
      timers.delete(timer);
      then();
    }, afterMs);
    timers.add(timer);
  }

  function prestart(expected: () => NativeGroupPlan): void {
    if (state.phase === 'off' || state.round !== 'awaited') return;
    // Nobody imports on a guess what a script may have to prepare for: the first round is learned from.
    if (imports?.beforeAll() === undefined) return;
    try {
      running = expected();
    } catch {
      // The round will say what's wrong with it.
      return;
    }
    due = 'awaited';
    room?.ask();
  }

  function make(group: number): void {
    const isFirst = state.phase !== 'off' && state.round === 'awaited';
    const acts = (isFirst ? imports?.beforeAll() : imports?.wanted()) ?? [];
    if ('unsafe' in acts) happen({ event: 'unable', group, reason: acts.unsafe });
    else start(group, standbyPlan, acts);
  }

  function start(group: number, planOf: typeof standbyPlan, acts: readonly Act[] = []): void {
    if (running === undefined) return;
    try {
      const plan = planOf(running, { group, cookie: randomName(24), acts });
      madeAtMs = nowMs();
      supervisor().startGroup(plan);
      groups.set(group, plan);
    } catch (error) {
      // The round that runs is worth more than the restart after it.
      happen({ event: 'unable', group, reason: messageOf(error) });
    }
  }

  return {
    launch(mayStart, expected) {
      const known = imports?.begin(list => {
        if (mayStart === undefined) readAhead.start(list);
        // Where that fails the run has ended.
        else void mayStart.then(() => readAhead.start(list)).catch(() => {});
      });
      if (policy?.prestarts)
        void Promise.all([known, mayStart]).then(
          () => prestart(expected),
          () => {},
        ); // as above
    },
    cold(plan) {
      try {
        return imports?.learning(plan) ?? plan;
      } catch (error) {
        tell({ event: 'standby-trouble', reason: messageOf(error), atMs: nowMs() });
        return plan;
      }
    },
    roundRuns(plan, which) {
      running = plan;
      happen({ event: 'round-runs', ...which });
    },
    roundOver() {
      imports?.roundOver();
      happen({ event: 'round-over' });
    },
    onEvent(event) {
      if (readAhead.onEvent(event)) return;
      switch (event.event) {
        case 'started':
          pids = event.pids;
          happen({ event: 'started', group: event.group });
          return;
        case 'standby-said':
          onSaid(event.group, event.index, event.message);
          return;
        case 'start-failed':
        case 'exited':
          if (isImporting(event.group)) imports?.giveUp();
          happen({ event: 'lost', group: event.group, reason: reasonOf(event) });
          return;
        default:
          return;
      }
    },
    take(plan) {
      const group = 'group' in state ? state.group : undefined;
      const standbys = group === undefined ? undefined : groups.get(group);
      const unfit = standbys === undefined ? undefined : misfitOf(standbys, plan);
      const wereImporting = state.phase === 'importing';
      taken = undefined;
      refusals.clear();
      if (typeof unfit === 'object' && group !== undefined)
        happen({ event: 'unable', group, reason: unfit.unsafe });
      else happen({ event: 'take', ...(typeof unfit === 'string' ? { unfit } : {}) });
      if (taken === undefined || standbys === undefined) return undefined;
      groups.delete(taken);
      const own = takenPlan(plan, standbys);
      // A shorter limit would have slow imports begin twice: only one that hangs is worth ending.
      const waitMs = wereImporting ? Math.max(answerMs, madeAtMs + parkMs - nowMs()) : answerMs;
      return { plan: own, orders: orderMessages(own), answerMs: waitMs };
    },
    areAmong(workers) {
      return pids.some(pid => workers.includes(pid));
    },
    onRefused(message) {
      const said = decodeMessage(message);
      // Its order has come before it was parked; it goes on with that.
      if (typeOf(said) === 'parked') return;
      const why = said?.get('why')?.[0]?.toString() ?? 'it has refused';
      // Each worker of the node has the same to say.
      if (refusals.has(why)) return;
      refusals.add(why);
      tell({ event: 'standby-trouble', reason: why, atMs: nowMs() });
    },
    async close() {
      for (const timer of timers) clearTimeout(timer);
      timers.clear();
      happen({ event: 'close' });
      room?.close();
      readAhead.close();
      await imports?.close();
    },
  };

  function isImporting(group: number): boolean {
    return state.phase === 'importing' && state.group === group;
  }

  function misfitOf(
    standbys: NativeGroupPlan,
    plan: NativeGroupPlan,
  ): string | { readonly unsafe: string } | undefined {
    if (!mayBeTaken(state)) return undefined;
    try {
      return misfit(standbys, plan) ?? imports?.misfit();
    } catch (error) {
      return messageOf(error);
    }
  }

  function onSaid(group: number, localRank: number, bytes: Buffer): void {
    const message = decodeMessage(bytes);
    if (message === undefined || typeOf(message) !== 'parked') {
      happen({ event: 'lost', group, reason: 'it said what nobody understands' });
      return;
    }
    const problem = message.get('problem')?.[0]?.toString();
    if (problem === undefined && localRank === 0)
      loaded = message.get('file')?.map(textOf).filter(isWhole) ?? [];
    if (problem === undefined && isImporting(group)) costs.note(localRank, message);
    const retry = problem !== undefined && isImporting(group) && imports?.giveUp() === true;
    const why = problem === undefined ? {} : { problem, retry };
    happen({ event: 'parked', group, localRank, ...why });
  }
}

function typeOf(message: Message | undefined): string | undefined {
  return message?.get('type')?.[0]?.toString();
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function reasonOf(event: Extract<NativeEvent, { event: 'start-failed' | 'exited' }>): string {
  if (event.event === 'start-failed') {
    const { code } = describeErrno(event.errno);
    return `could not start: ${event.step}: ${code}`;
  }
  const { exit } = event;
  if (exit.how === 'exited') return `ended with code ${exit.code} while it waited`;
  return exit.how === 'signaled' ? `was killed by signal ${exit.signal}` : 'ended while it waited';
}

/** JSON has no word for other bytes. */
function isWhole(path: string): boolean {
  return !hasBytes(path);
}

/** Undefined: none are wanted, or none of these workers could be warm. */
function policyOf(settings: Settings, job: Job): StandbyPolicy | undefined {
  const { entrypoint, standby, standbyAfterMs, prestart, maxNodes, hooks } = settings;
  if (standby === 'off') return undefined;
  if (!('script' in entrypoint || 'module' in entrypoint)) return undefined;
  // Elsewhere the first round waits for nobody beside whom they could import.
  const prestarts = prestart && (maxNodes > 1 || hooks?.preStart !== undefined);
  return { count: job.localWorldSize, afterMs: standbyAfterMs, parkMs, maxLost, prestarts };
}
