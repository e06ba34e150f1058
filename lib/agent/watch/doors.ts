import type { ControlServer, ControlService } from '../../control/server.js';
import type { ControlAnswer, ControlRequest, RunStatus } from '../../control/words.js';
import type { AgentEvent } from '../../events.js';
import { dumpRound } from '../../hangs/guard.js';
import type { HealthServer } from '../../health/server.js';
import { exactEnv } from '../../system/exact.js';
import { atMost } from '../../util/deferred.js';
import type { Job } from '../../workers/job.js';
import type { Core } from '../core.js';
import type { Rounds } from '../rounds.js';
import type { AgentState, Happening } from '../step/state.js';
import { statusOf } from './status.js';

/** By what others look at a run, and give it orders: health by HTTP, and the control socket. Each is loaded when it's needed. */
export interface Doors {
  /** The run begins: its health may be asked for from now on. */
  launched(): void;
  /** Hears of what the run's callers are told. */
  heard(event: AgentEvent): void;
  /** Resolves when none is left; absent: there was none. */
  close(): Promise<unknown> | undefined;
}

/** What doors lead to. */
export interface DoorSurroundings {
  readonly rounds: Rounds;
  state(): AgentState;
  core(): Core | undefined;
  tell(event: AgentEvent): void;
  nowMs(): number;
  happen(happening: Happening): void;
  /** @returns whether a round that costs no restart takes the place of this one */
  renew(round: number): boolean;
  /** Around what starts children by Node. */
  asGuests<T>(body: () => Promise<T>): Promise<T>;
}

/** Where nobody has asked for it, the socket takes no time from a start, and a job that's over by then has none. */
const laterMs = 1000;
/** torchrun's server, where there is one, takes an agent that has stood still for so long for dead. */
const aliveMs = 60_000;
/** A run's end waits so long for the socket to be removed, whose file system may hang. */
const closeMs = 1000;

export function createDoors(job: Job, around: DoorSurroundings): Doors {
  const { rounds, state, core, happen, renew, tell, nowMs, asGuests } = around;
  const { control: wish, healthPort, hang = {} } = job.settings;
  const closing = new AbortController();
  let launchedAtMs = 0;
  let restartsLeft: number | undefined;
  let later: NodeJS.Timeout | undefined;
  let opening: Promise<void> | undefined;
  let health: HealthServer | undefined;
  let control: ControlServer | undefined;
  let isOver = false;
  let dumping: { readonly whose: string; readonly answer: Promise<ControlAnswer> } | undefined;

  async function open(
    door: 'health' | 'control',
    isAsked: boolean,
    make: () => Promise<string>,
  ): Promise<void> {
    // Nothing comes behind a run's end, and nothing of what nobody has asked for.
    const say = (event: AgentEvent): void => {
      if (isAsked && !isOver) tell(event);
    };
    try {
      const at = await make();
      say({ event: 'door-open', door, at, atMs: nowMs() });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      say({ event: 'door-trouble', door, reason, atMs: nowMs() });
    }
  }

  async function openHealth(port: number): Promise<string> {
    const { serveHealth } = await import('../../health/server.js');
    health = await serveHealth(port, { whyNotAlive, whyNotReady });
    if (closing.signal.aborted) health.close();
    return String(health.port);
  }

  async function openControl(): Promise<string> {
    const { serveControl } = await import('../../control/server.js');
    control = await serveControl(exactEnv(), { status: statusNow, perform });
    return control.path;
  }

  function whyNotAlive(): string | undefined {
    const owesMs = core()?.supervisor.owesMs() ?? 0;
    if (owesMs < aliveMs) return undefined;
    return `the supervisor's thread hasn't answered for ${Math.round(owesMs / 1000)} s`;
  }

  function whyNotReady(): string | undefined {
    const { phase } = state();
    return phase === 'running' ? undefined : `the workers don't run: ${phase}`;
  }

  function status(): RunStatus {
    const now = state();
    const [last] = [...rounds.all()].slice(-1);
    const record = ('round' in now ? rounds.get(now.round) : undefined) ?? last;
    const logFolder = rounds.runFolder();
    const ranMs = performance.now() - launchedAtMs;
    return statusOf(job, { state: now, record, restartsLeft, logFolder, ranMs }, nowMs());
  }

  function statusNow(): ControlAnswer {
    try {
      return { ok: true, status: status() };
    } catch (error) {
      return refusal(error);
    }
  }

  async function perform(
    request: Parameters<ControlService['perform']>[0],
  ): Promise<ControlAnswer> {
    try {
      switch (request.do) {
        case 'stop':
          happen({ event: 'stop', by: 'signal', signal: 'SIGTERM' });
          return { ok: true };
        case 'drain':
          happen({ event: 'notice', by: 'caller' });
          return { ok: true };
        case 'restart': {
          const why = restart();
          return why === undefined ? { ok: true } : { ok: false, why };
        }
        case 'dump':
          return await dump(request);
      }
    } catch (error) {
      return refusal(error);
    }
  }

  /** @returns why not; absent: the round is being stopped, and another one follows */
  function restart(): string | undefined {
    const now = state();
    if (now.phase !== 'running') return `no workers run: ${now.phase}`;
    if (now.notice !== undefined) return 'its workers save, and no round follows';
    return renew(now.round)
      ? undefined
      : 'it has several nodes, and only a job on one can be restarted so';
  }

  /** One at a time: whoever asks for the same meanwhile gets the same. */
  function dump({ ranks }: Extract<ControlRequest, { do: 'dump' }>): Promise<ControlAnswer> {
    const whose = ranks?.join() ?? 'all';
    if (dumping?.whose === whose) return dumping.answer;
    if (dumping !== undefined)
      return Promise.resolve({ ok: false, why: 'stacks of other ranks are being taken' });
    const answer = takeStacks(ranks).finally(() => {
      dumping = undefined;
    });
    dumping = { whose, answer };
    return answer;
  }

  async function takeStacks(ranks: readonly number[] | undefined): Promise<ControlAnswer> {
    const now = state();
    const record = 'round' in now ? rounds.get(now.round) : undefined;
    if (record === undefined || (now.phase !== 'running' && now.phase !== 'stopping'))
      return { ok: false, why: `no workers run: ${now.phase}` };
    const gone = now.exits.map(({ worker }) => worker.localRank);
    const living = record.workers.filter(({ localRank }) => !gone.includes(localRank));
    const chosen = living.filter(({ rank }) => ranks === undefined || ranks.includes(rank));
    if (chosen.length === 0) {
      const has = living.map(({ rank }) => rank).join(', ');
      return { ok: false, why: `none of these ranks runs here; there are ${has || 'none'}` };
    }
    const round = {
      plans: record.plan.plans,
      files: record.files,
      path: job.env.PATH,
      disk: rounds.disk,
    };
    const { signal: over } = record.over;
    const stop = AbortSignal.any([over, closing.signal]);
    const taken = await asGuests(() => dumpRound(round, chosen, hang, stop));
    if (over.aborted) return { ok: false, why: 'the workers have ended meanwhile' };
    return { ok: true, dump: { summary: taken.summary, files: taken.files } };
  }

  return {
    launched() {
      launchedAtMs = performance.now();
      if (healthPort !== undefined) void open('health', true, () => openHealth(healthPort)); // never rejects
    },
    heard(event) {
      if (event.event === 'ended') {
        isOver = true;
        clearTimeout(later);
      }
      if (event.event === 'restarting') restartsLeft = event.restartsLeft;
      if (event.event === 'round-started') control?.tell();
      if (event.event !== 'round-started' || wish === 'off' || later !== undefined) return;
      const isAsked = wish === 'on';
      const openNow = (): void => {
        opening = open('control', isAsked, openControl);
      };
      later = setTimeout(openNow, isAsked ? 0 : laterMs).unref();
    },
    close() {
      isOver = true;
      clearTimeout(later);
      closing.abort();
      health?.close();
      const closed = opening?.then(() => control?.close());
      return closed && atMost(closeMs, closed);
    },
  };
}

function refusal(error: unknown): ControlAnswer {
  return { ok: false, why: error instanceof Error ? error.message : String(error) };
}
