import { launchError } from '../../errors.js';
import { emptyLedger, judge, type Ledger } from '../../failures/policy.js';
import type { Store } from '../../store/store.js';
import { atMost } from '../../util/deferred.js';
import { failedRoundOf } from '../job/report.js';
import type { FailureReport, MasterAddress, Verdict } from '../rendezvous.js';
import type { Together } from '../together.js';
import { breakReasons } from '../told/verdicts.js';
import {
  type Because,
  type Happening,
  participantOf,
  pauseOf,
  step,
  type Told,
} from './participant.js';
import {
  exchange,
  exitBarrier,
  findWay,
  haveSomeEnded,
  roundPrefix,
  type Way,
} from './round/exchange.js';
import { hear, keptMaster, type Masters, publish, publishKept } from './round/master.js';
import { hearFailed, hearFailing, type OwnFailure, tellFailed, tellFailing } from './round/ours.js';
import { type Generation, nameOf, stateKey } from './state.js';
import type { CompanyOptions, CompanySurroundings } from './surroundings.js';
import { type Next, type Sync, startSync } from './sync.js';
import { millisecondsOf } from './times.js';
import { MalformedState } from './values.js';
import { asPeopleAreTold, closedElsewhere, noRoundInTime, shownNode } from './words.js';

/** How long it takes at most to tell others that this node goes, or that the job is over. */
const farewellMs = 2_000;
/** For what one of our nodes tells of its failure. */
const newsMs = 1_000;

/** The round that this node is in. */
interface Current extends Pick<Extract<Told, { tell: 'round' }>, 'round' | 'rank' | 'nodes'> {
  readonly generation: Generation;
  /** Until it's known, the newest. */
  way: Way;
  /** Below the round's prefix. */
  readonly store: Store;
  readonly over: AbortController;
  /** Known ranks and store, told to the agent. */
  is: 'forming' | 'running' | 'ended-well' | 'ending';
}

/** One agent of ours in a job whose others are PyTorch's: performs what `participant.ts` decides, and what follows a round. */
export function createCompany(options: CompanyOptions, around: CompanySurroundings): Together {
  const { runId, policy, settings } = options;
  const { store } = around;
  const own = nameOf(options.node);
  const us = { agent: own, node: options.here };
  let state = participantOf(options.node, settings, options.generation);
  let sync: Sync | undefined;
  let current: Current | undefined;
  let ledger: Ledger = emptyLedger;
  /** This node's last one: what it says, and when it was sent at the earliest. */
  let heartbeat: { readonly atMs: number; readonly bootMs: number } | undefined;
  /** Of the round: from then on until they are gone, in which time others must not take this node for dead. */
  let hasWorkers = false;
  /** A round whose store this node serves. */
  let served: number | undefined;
  /** Workers of another of our nodes have failed in the last round; how is told later. */
  let theirs: OwnFailure | undefined;
  let news: { readonly over: AbortController; readonly heard: Promise<void> } | undefined;
  let isEnd = false;
  /** Nothing can be read or written any more. */
  let isLost = false;
  let isOver = false;
  let done: (() => void) | undefined;

  function happen(happening: Happening): Next {
    const known = state.generation;
    const now = { nowMs: around.nowMs(), wallMs: Date.now() };
    const after = step(state, happening, now);
    state = after.state;
    const { generation } = state;
    if (generation !== undefined && known === undefined) around.met(generation);
    for (const told of after.told) hearTold(told);
    around.stepped(state);
    if (after.write !== undefined && generation !== undefined)
      return { write: { state: after.write, generation } };
    return pauseOf(state);
  }

  function order(happening: Happening): void {
    happen(happening);
    sync?.wake();
  }

  function begin(): void {
    sync ??= startSync({
      store,
      key: stateKey(runId),
      seen: stored => happen({ event: 'read', stored }),
      written(written, beganBootMs) {
        const beat = written.heartbeats.get(own);
        const atMs = beat === undefined ? undefined : millisecondsOf(beat.at);
        // Other writes have the one before in them.
        if (atMs === undefined || atMs === heartbeat?.atMs) return;
        heartbeat = { atMs, bootMs: beganBootMs };
        fence();
      },
      bootMs: around.bootMs,
      failed(error) {
        isLost = true;
        const round = current;
        // Whoever has it may have heard of all the others, and gone.
        if (round?.is === 'ended-well' && !(error instanceof MalformedState)) endWell(round);
        else giveUp(error);
      },
    });
  }

  /** The others take this node for dead from then on. */
  function fence(): void {
    if (!hasWorkers || heartbeat === undefined) return;
    around.setFence(heartbeat.bootMs + settings.deadAfterMs);
  }

  function unfence(): void {
    hasWorkers = false;
    around.setFence(undefined);
  }

  function hearTold(told: Told): void {
    switch (told.tell) {
      case 'round': {
        current?.over.abort();
        news?.over.abort();
        theirs = undefined;
        if (state.generation === undefined) return;
        const prefixed = store.prefix(roundPrefix(runId, told.round));
        const { generation } = state;
        const over = new AbortController();
        current = { ...told, generation, way: 'assigned', store: prefixed, over, is: 'forming' };
        void form(current);
        return;
      }
      case 'broken':
        breakRound(told.because, told.nodes);
        return;
      case 'closed':
        if (current !== undefined) void onClosed(current);
        return;
      case 'no-round':
        void onNoRound(told.because);
        return;
      case 'done':
        done?.();
        return;
    }
  }

  async function form(round: Current): Promise<void> {
    const { signal } = round.over;
    const { localWorldSize, role } = options;
    try {
      const size = round.nodes.length;
      const about = { ...round, size, localWorldSize, role, signal };
      round.way = await findWay(round.generation, about);
      const { way } = round;
      const master = (ranks: Promise<unknown>): Promise<MasterAddress> =>
        masterOf(round, ranks, signal);
      const formed = await exchange({ ...about, way, master });
      if (signal.aborted) return;
      round.is = 'running';
      hasWorkers = true;
      fence();
      // The number is the same on all of our nodes, and PyTorch's tell nobody how many restarts they have spent.
      const { round: number } = round;
      around.tell({ event: 'round-formed', round: number, restartCount: number, ...formed });
      const hearing = new AbortController();
      news = { over: hearing, heard: followOurs(round, hearing.signal) };
    } catch (error) {
      if (!signal.aborted) giveUp(error);
    }
  }

  async function masterOf(
    round: Current,
    ranks: Promise<unknown>,
    signal: AbortSignal,
  ): Promise<MasterAddress> {
    const isShared = round.way === 'assigned' && options.agentStore;
    const masters: Masters = {
      ...{ store, runId, round: round.round, mayBeKept: isShared, isThere: around.isThere },
    };
    if (round.rank > 0) {
      const { kept, ...master } = await hear(masters, ranks, signal);
      if (kept) await publishKept(masters, master, signal);
      return { ...master, ...(isShared ? {} : { isWorkers: true }) };
    }
    if (served === undefined) {
      const kept = await keptMaster(masters, signal);
      signal.throwIfAborted();
      if (kept !== undefined) {
        await publish(masters, kept, signal);
        return { ...kept, isOurs: false };
      }
    }
    const { address: host } = options.node;
    if (!isShared) {
      const at = { host, port: around.freePort() };
      await publish(masters, at, signal);
      return { ...at, isOurs: false, isWorkers: true };
    }
    endStore();
    const at = { host, port: around.openStore(round.round) };
    served = round.round;
    await publish(masters, at, signal);
    return { ...at, isOurs: true };
  }

  function endStore(): void {
    if (served !== undefined) around.closeStore(served);
  }

  /** Hears of failures on our other nodes, which PyTorch's agents would have it find out. */
  async function followOurs(round: Current, signal: AbortSignal): Promise<void> {
    try {
      const failing = await hearFailing(round.store, signal);
      if (failing === undefined || failing.agent === own) return;
      if (current === round) breakRound('failed', [failing.node]);
      const failed = await hearFailed(round.store, signal);
      if (failed === undefined || failed.agent === own) return;
      theirs = failed;
      around.peerFailed(round.round, failed.failures);
    } catch {
      // Given up; or the store is lost, as whoever looks at the state is told.
    }
  }

  function breakRound(because: Because, nodes: readonly string[]): void {
    const round = current;
    if (round === undefined || round.is === 'ending') return;
    const wasForming = round.is === 'forming';
    round.is = 'ending';
    around.notice(round.round, because, nodes.map(shownNode));
    if (wasForming) {
      round.over.abort();
      order({ event: 'join' });
      return;
    }
    order({ event: 'over' });
    around.tell({
      event: 'round-broken',
      round: round.round,
      because: breakReasons[because],
    });
  }

  /** Some agent has ended the job: since all have succeeded, since its own has failed for good, or since it waits no more. */
  async function onClosed(round: Current): Promise<void> {
    if (round.is === 'ending' || round.is === 'ended-well') return;
    try {
      const { signal } = round.over;
      const about = { ...round, size: round.nodes.length, signal };
      if (await haveSomeEnded(about)) order({ event: 'over' });
      else if (!signal.aborted) breakRound('failed', []);
    } catch (error) {
      if (!round.over.signal.aborted) giveUp(error);
    }
  }

  async function onNoRound(because: 'closed' | 'released' | 'late'): Promise<void> {
    const { round = 0 } = current ?? {};
    if (because === 'released') {
      around.tell({ event: 'verdict', round, verdict: { do: 'end' } });
      return;
    }
    // What one of ours tells of its failure is there before the end, and comes over another connection.
    if (because === 'closed' && news !== undefined) await atMost(newsMs, news.heard);
    if (because === 'closed' && theirs !== undefined) {
      const { failures } = theirs;
      const verdict = { do: 'fail', because: 'no-restarts-left', failures } as const;
      around.tell({ event: 'verdict', round, verdict });
      return;
    }
    const why =
      because === 'closed'
        ? closedElsewhere(runId)
        : noRoundInTime(state, settings, options.endpoint);
    giveUp(launchError('ERR_RENDEZVOUS', [why]));
  }

  function verdictOn(report: FailureReport): Verdict {
    if (report.isStuck) return { do: 'fail', because: 'node-unfit' };
    const judgement = judge(policy, ledger, failedRoundOf(report));
    if (judgement.do === 'fail') {
      isEnd = true;
      return judgement;
    }
    const { ledger: after, ...restart } = judgement;
    ledger = after;
    const { maxRestarts } = policy;
    const restartsLeft = maxRestarts - after.spent;
    return { ...restart, round: report.round + 1, restartsLeft, maxRestarts };
  }

  /** The others wait for this one's word, and none of them ends for it: whether it can be told is nobody's business. */
  function tellOurs(tell: (round: Current) => Promise<void>): void {
    if (current === undefined) return;
    tell(current).catch(() => {});
  }

  async function awaitOthers(round: Current): Promise<void> {
    const { signal } = round.over;
    try {
      await exitBarrier({ ...round, size: round.nodes.length, signal });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof MalformedState) return giveUp(error);
      // As PyTorch's agents do: whoever has the store may have heard of all the others, and gone.
    }
    if (!signal.aborted && round.is === 'ended-well') endWell(round);
  }

  function endWell(round: Current): void {
    round.is = 'ending';
    round.over.abort();
    isEnd = true;
    order({ event: 'over' });
    around.tell({ event: 'verdict', round: round.round, verdict: { do: 'end' } });
  }

  function giveUp(error: unknown): void {
    if (isOver || isEnd) {
      // There's nobody to be told of the end any more.
      done?.();
      return;
    }
    current?.over.abort();
    around.failed(asPeopleAreTold(error, options));
  }

  return {
    fenced(atMs) {
      const round = current;
      if (round?.is !== 'running') return;
      round.is = 'ending';
      order({ event: 'over' });
      around.tell({ event: 'round-broken', round: round.round, because: 'fenced', atMs });
    },
    serves: round => served === round,
    join() {
      unfence();
      current?.over.abort();
      current = undefined;
      order({ event: 'join' });
      begin();
    },
    announce() {
      if (current?.is === 'running') current.is = 'ending';
      order({ event: 'over' });
      tellOurs(({ store: keys, over }) => tellFailing(keys, us, over.signal));
    },
    report(report) {
      tellOurs(({ store: keys, over }) => tellFailed(keys, us, report, over.signal));
      unfence();
      around.tell({ event: 'verdict', round: report.round, verdict: verdictOn(report) });
    },
    succeed() {
      unfence();
      const round = current;
      if (round?.is !== 'running') return;
      round.is = 'ended-well';
      void awaitOthers(round);
    },
    leave() {
      if (current?.is === 'forming') current.over.abort();
      order({ event: 'leave' });
    },
    conclude() {},
    async close() {
      unfence();
      if (sync !== undefined && !isLost) {
        const told = new Promise<void>(resolve => {
          done = resolve;
        });
        order({ event: isEnd ? 'end' : 'depart' });
        await atMost(farewellMs, told);
      }
      isOver = true;
      sync?.close();
      current?.over.abort();
      news?.over.abort();
      endStore();
      await store.close();
      // The job may be over for others, as this node has read: whoever hasn't reads it here.
      await around.linger(isEnd || state.view?.isClosed === true ? 'end' : 'departure');
    },
  };
}
