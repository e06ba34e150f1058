import type { Lease } from '../coordination/coordination.js';
import { launchError } from '../errors.js';
import type { WorkerFailure } from '../events.js';
import { atMost } from '../util/deferred.js';
import { maxTimerMs } from '../util/duration.js';
import { createEnds, type Ends } from './ends.js';
import type { LeaderOptions } from './job/lead.js';
import { isRegistered } from './job/move.js';
import { type ParticipantEvent, step, type Told } from './job/participant.js';
import { type Ending, emptyView, placeOf } from './job/shared.js';
import { isTooMany } from './job/spares.js';
import { beginningOf, type ParticipantState, workersRoundOf } from './job/state.js';
import { newlyLeftOut } from './job/strikes.js';
import { keepMembership, type Membership } from './membership.js';
import type { Met } from './met.js';
import { withPatience } from './patience.js';
import type { Rendezvous, RendezvousEvent } from './rendezvous.js';
import { createStores, type Stores, type StoresAt } from './stores.js';
import { followTable, leaveNothing, prefixOf, type Table } from './table.js';
import { nodeOf } from './told/elsewhere.js';
import { breakReasons, lastVerdictOf, restartOf } from './told/verdicts.js';
import { asRendezvousError, missed, noRound, refusal, tooMany, unreachable } from './words.js';
import { createWriter, type Writer } from './writer.js';

/** The rendezvous of a job on several nodes: performs what `participant.ts` decides. */
export interface Together extends Rendezvous {
  /** The fence has passed, and all workers have been killed. @param atMs when, by CLOCK_MONOTONIC */
  fenced(atMs: number): void;
  /** Whether workers of other nodes may use this node's store of a round. */
  serves(round: number): boolean;
  /**
   * Ends this node's part. Where others need this node to learn of the job's end, it waits for them, for some seconds.
   */
  close(): Promise<void>;
}

/** `agent` is of this start of an agent. */
export interface TogetherOptions extends LeaderOptions {
  readonly runId: string;
  readonly hostname: string;
  readonly nodeRank?: number;
  readonly nodeGroup?: string;
  readonly localWorldSize: number;
  readonly joinTimeoutMs: number;
  /** Of the first join's time, what has passed. @default 0 */
  readonly soughtMs?: number;
  /** For other nodes to tell what became of their workers, once the job has failed. */
  readonly endsMs: number;
}

/** What a rendezvous needs of the agent. */
export interface TogetherSurroundings {
  /** Reaches the engine, which may be this process's own. Rejects with what the user is told. */
  meet(): Promise<Met>;
  /** Serves a round's store; `host` where it isn't at this node's address. @throws ERR_PORT */
  openStore(round: number): StoresAt;
  closeStore(round: number): void;
  setFence(atBootMs: number | undefined): void;
  postponeFence(atBootMs: number): void;
  bootMs(): number;
  nowMs(): number;
  tell(event: RendezvousEvent): void;
  /** What this node knows of the job, or what it's about, may have changed. */
  stepped(state: ParticipantState): void;
  /** A round is over for what has happened elsewhere. @param nodes that it's because of */
  notice(round: number, because: Ending['because'], nodes: readonly string[]): void;
  /**
   * The server's process has ended, or one is there again.
   *
   * @param round that workers of this node may be in
   * @param keptMs see Met
   */
  reached(isThere: boolean, round: number | undefined, keptMs?: number): void;
  /** A node has failed too often. */
  leftOut(node: string): void;
  /** Going on is in vain. */
  failed(error: unknown): void;
}

/** How long whoever serves the table waits at the job's end for the others to have read it. */
const lingerMs = 10_000;
/** How long it takes at most to tell others that this node goes. */
const farewellMs = 2_000;

export function createTogether(options: TogetherOptions, around: TogetherSurroundings): Together {
  const { settings, joinTimeoutMs } = options;
  const prefix = prefixOf(options.runId);
  const early: ParticipantEvent[] = [];
  const happenings: ParticipantEvent[] = [];
  let state: ParticipantState | undefined;
  let met: Met | undefined;
  let table: Table | undefined;
  let membership: Membership | undefined;
  let writer: Writer | undefined;
  let stores: Stores | undefined;
  let ends: Ends | undefined;
  let busy = false;
  let wake: NodeJS.Timeout | undefined;
  let joinLimit: NodeJS.Timeout | undefined;
  let { soughtMs = 0 } = options;
  /** A round that this agent is in, and hasn't been told of, since nobody knows its store yet. */
  let forming: Extract<Told, { tell: 'round-formed' }> | undefined;
  let isBegun = false;
  let isOver = false;
  let allGone: (() => void) | undefined;

  async function begin(): Promise<void> {
    try {
      const found = await around.meet();
      if (isOver) {
        await found.coordination.close();
        return;
      }
      const { address } = found;
      const coordination = withPatience(found.coordination, around.nowMs);
      met = { ...found, coordination };
      state = beginningOf(options, found);
      const lease = (): Lease | undefined => membership?.lease();
      writer = createWriter({
        coordination,
        prefix,
        lease,
        revision: () => state?.view.revision ?? 0,
        lost: ended => membership?.lost(ended),
        written: revision => happen({ event: 'written', revision }),
        failed: giveUp,
      });
      const { openStore: open, closeStore: close, setFence, postponeFence, bootMs } = around;
      stores = createStores({ coordination, prefix, address, lease, open, close, failed: giveUp });
      ends = createEnds({
        ...{ coordination, prefix, agent: options.agent, limitMs: options.endsMs },
        view: () => state?.view ?? emptyView,
        over: peersEnded,
      });
      table = followTable(
        coordination,
        prefix,
        (view, isAnew) => {
          const strikes = state?.view.round?.value.strikes;
          for (const node of newlyLeftOut(strikes, view.round?.value.strikes)) around.leftOut(node);
          // Before another is opened, which may need the port.
          stores?.endBefore(view.round?.value.number ?? 0);
          const isAnother = view.round?.modified !== state?.view.round?.modified;
          happen({ event: 'seen', view, isAnew });
          tellFormed();
          // It counts from the last round's end on, or from whatever else became of it.
          if (isAnother && joinLimit !== undefined) limitJoin();
          ends?.look();
          if (isAlone()) allGone?.();
        },
        giveUp,
      );
      membership = keepMembership({
        coordination,
        leaseMs: settings.leaseMs,
        ...(found.keptMs === undefined ? {} : { keptMs: found.keptMs }),
        around: {
          ...{ setFence, postponeFence, bootMs },
          keep: found.keep,
          leased() {
            const isKept = state?.isMoving === true;
            happen({ event: 'leased' });
            if (isKept) stores?.tellAgain();
          },
          moved: () => happen({ event: 'moved' }),
          gone: () => giveUp(launchError('ERR_RENDEZVOUS', [unreachable(joinTimeoutMs)])),
          lost: fenced,
          failed: giveUp,
        },
      });
      coordination.onMoved?.(membership.move);
      coordination.onRefused?.(membership.refused);
      coordination.onReached?.(is => around.reached(is, workersRoundOf(state), found.keptMs));
      for (const event of early.splice(0)) happen(event);
    } catch (error) {
      giveUp(error);
    }
  }

  function happen(event: ParticipantEvent): void {
    if (state === undefined) {
      early.push(event);
      return;
    }
    happenings.push(event);
    if (busy) return;
    busy = true;
    try {
      follow();
    } catch (error) {
      // Somebody has written what no agent writes.
      happenings.length = 0;
      giveUp(error);
    } finally {
      busy = false;
    }
  }

  function follow(): void {
    for (let next = happenings.shift(); next !== undefined; next = happenings.shift()) {
      if (state === undefined) return;
      const after = step(state, next, around.nowMs(), Math.random());
      state = after.state;
      if (after.write !== undefined) writer?.write(after.write);
      if (membership?.isMoving() && isRegistered(state)) membership.registered();
      clearTimeout(wake);
      const { wakeAtMs } = after;
      if (wakeAtMs !== undefined) {
        const delayMs = Math.min(Math.max(0, wakeAtMs - around.nowMs()), maxTimerMs);
        wake = setTimeout(() => happen({ event: 'time' }), delayMs);
      }
      for (const told of after.told) hear(told);
      around.stepped(state);
    }
  }

  function fenced(atMs?: number): void {
    const since = atMs === undefined ? {} : { atMs };
    const round = workersRoundOf(state);
    const wasForming = dropForming();
    if (round !== undefined && !wasForming)
      around.tell({ event: 'round-broken', round, because: 'fenced', ...since });
    happen({ event: 'lease-lost' });
    if (state?.local.is === 'over') ends?.giveUp();
    if (wasForming) happen({ event: 'join' });
  }

  function hear(told: Told): void {
    switch (told.tell) {
      case 'round-formed':
        forming = told;
        try {
          if (told.groupRank === 0) stores?.serve(told.round.number);
        } catch (error) {
          giveUp(error);
        }
        tellFormed();
        return;
      case 'round-broken': {
        const { round, because } = told;
        around.notice(
          round,
          because,
          told.agents.map(agent => nodeOf(state?.view ?? emptyView, agent)),
        );
        if (dropForming()) {
          happen({ event: 'join' });
          return;
        }
        around.tell({ event: 'round-broken', round, because: breakReasons[because] });
        return;
      }
      case 'restart':
        around.tell(restartOf(told, options.policy.maxRestarts));
        return;
      case 'verdict': {
        const { verdict } = told;
        dropForming();
        unlimitJoin();
        // Nobody takes this node's place any more; of a failed job the others await what it tells.
        if (verdict.is === 'failed') membership?.unfence();
        else void membership?.close();
        around.tell(lastVerdictOf(verdict, state?.view ?? emptyView, options.agent));
        return;
      }
      case 'refused':
        giveUp(launchError('ERR_RENDEZVOUS', [refusal(told.theirs, settings)]));
        return;
      case 'missed':
        giveUp(launchError('ERR_RENDEZVOUS', [missed]));
        return;
    }
  }

  function tellFormed(): void {
    const store = forming && state?.view.stores.get(String(forming.round.number))?.value;
    if (forming === undefined || store === undefined) return;
    const { round, groupRank } = forming;
    forming = undefined;
    unlimitJoin();
    around.tell({
      event: 'round-formed',
      round: round.number,
      restartCount: round.restartCount,
      place: placeOf(round, groupRank),
      master: { ...store, isOurs: groupRank === 0 },
    });
  }

  /** @returns whether there was one */
  function dropForming(): boolean {
    if (forming === undefined) return false;
    stores?.end(forming.round.number);
    forming = undefined;
    return true;
  }

  function isAlone(): boolean {
    const { members } = state?.view ?? emptyView;
    return members.size === (members.has(options.agent) ? 1 : 0);
  }

  function peersEnded(failures: readonly WorkerFailure[]): void {
    void membership?.close();
    around.tell({ event: 'peers-ended', failures });
  }

  function giveUp(error: unknown): void {
    if (isOver) return;
    // The job is over already, and this node knows how.
    if (state?.view.verdict !== undefined && state.local.is === 'over') ends?.giveUp();
    else around.failed(asRendezvousError(error));
  }

  function unlimitJoin(): void {
    clearTimeout(joinLimit);
    joinLimit = undefined;
    soughtMs = 0;
  }

  function limitJoin(): void {
    clearTimeout(joinLimit);
    const limitMs = Math.max(0, joinTimeoutMs - soughtMs);
    joinLimit = setTimeout(() => {
      soughtMs = 0;
      // The first connection has a limit of its own.
      if (state === undefined) return limitJoin();
      if (membership?.lease() === undefined) {
        return giveUp(launchError('ERR_RENDEZVOUS', [unreachable(joinTimeoutMs)]));
      }
      // Whoever is more than a round takes waits for a vacancy, however long, unless it's one too many for that, too.
      const round = state.view.round?.value;
      if (isTooMany(state.view, options.agent, settings)) {
        return giveUp(launchError('ERR_RENDEZVOUS', [tooMany(settings, joinTimeoutMs)]));
      }
      if (round !== undefined && round.ending === undefined) return limitJoin();
      giveUp(launchError('ERR_RENDEZVOUS', [noRound(state, joinTimeoutMs, met?.address)]));
    }, limitMs);
  }

  async function linger(): Promise<void> {
    if (met?.isHost() !== true || state?.view.verdict === undefined || isAlone()) return;
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, lingerMs);
      allGone = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  return {
    fenced: atMs => membership?.fenced(atMs),
    serves: round => stores?.serves(round) === true,
    join() {
      limitJoin();
      if (!isBegun) void begin();
      isBegun = true;
      happen({ event: 'join' });
    },
    announce: round => happen({ event: 'failing', round }),
    report(report) {
      // No signal frees what its process holds: others go on, without this node.
      if (report.isStuck) {
        const verdict = { do: 'fail', because: 'node-unfit' } as const;
        around.tell({ event: 'verdict', round: report.round, verdict });
      } else {
        happen({ event: 'failed', report });
      }
    },
    succeed: () => happen({ event: 'succeeded' }),
    leave() {
      unlimitJoin();
      happen({ event: 'leave' });
    },
    conclude(failures) {
      ends?.conclude(failures);
      happen({ event: 'concluded' });
    },
    async close() {
      unlimitJoin();
      ends?.giveUp();
      const closing = membership?.close();
      await linger();
      isOver = true;
      clearTimeout(wake);
      writer?.close();
      table?.close();
      if (met === undefined) return;
      const { coordination } = met;
      // Nobody may be there to be told.
      await atMost(
        farewellMs,
        Promise.resolve(closing).then(() => leaveNothing(coordination, prefix)),
      );
      await coordination.close();
    },
  };
}
