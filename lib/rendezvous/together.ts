import { type Coordination, CoordinationError } from '../coordination/coordination.js';
import { launchError } from '../errors.js';
import type { FailurePolicy } from '../options/failures.js';
import { maxTimerMs } from '../util/duration.js';
import { keepMembership, type Membership } from './membership.js';
import {
  type ParticipantEvent,
  type ParticipantState,
  step,
  type Told,
  type Write,
} from './participant.js';
import type { LastVerdict, Place, Rendezvous, RendezvousEvent } from './rendezvous.js';
import {
  type Ending,
  emptyView,
  type JobVerdict,
  keys,
  type Settings,
  type SharedRound,
  type StoreAddress,
} from './shared.js';
import { followTable, type Table } from './table.js';

/** The rendezvous of a job on several nodes: performs what `participant.ts` decides. */
export interface Together extends Rendezvous {
  /**
   * Ends this node's part. Where others need this node to learn of the job's end, it waits for them, for some seconds.
   */
  close(): Promise<void>;
}

export interface TogetherOptions {
  readonly runId: string;
  /** Of this start of an agent. */
  readonly agent: string;
  readonly hostname: string;
  readonly nodeRank?: number;
  readonly localWorldSize: number;
  readonly settings: Settings;
  readonly policy: FailurePolicy;
  readonly lastCallMs: number;
  readonly joinTimeoutMs: number;
  readonly leaseMs: number;
  readonly growDebounceMs: number;
  readonly returnGraceMs: number;
}

/** What a rendezvous needs of the agent. */
export interface TogetherSurroundings {
  /** Reaches the engine, which may be this process's own. Rejects with what the user is told. */
  meet(): Promise<Met>;
  /** Serves a round's store. @throws ERR_PORT */
  openStore(round: number): number;
  closeStore(round: number): void;
  setFence(atBootMs: number | undefined): void;
  bootMs(): number;
  nowMs(): number;
  tell(event: RendezvousEvent): void;
  /** A round is over for what has happened elsewhere. @param nodes that it's because of */
  notice(round: number, because: Ending['because'], nodes: readonly string[]): void;
  /** Going on is in vain. */
  failed(error: unknown): void;
}

export interface Met {
  readonly coordination: Coordination;
  /** Address that other nodes reach this one at. */
  readonly address: string;
  /** Whether the engine ends with this process. */
  readonly isHost: boolean;
}

/** How long whoever serves the table waits at the job's end for the others to have read it. */
const lingerMs = 10_000;
/** Before a write is tried again whose outcome nobody knows. */
const retryMs = 100;

export function createTogether(options: TogetherOptions, around: TogetherSurroundings): Together {
  const prefix = `/regroup/${options.runId}/`;
  const early: ParticipantEvent[] = [];
  const happenings: ParticipantEvent[] = [];
  let state: ParticipantState | undefined;
  let met: Met | undefined;
  let table: Table | undefined;
  let membership: Membership | undefined;
  let busy = false;
  let wake: NodeJS.Timeout | undefined;
  let joinLimit: NodeJS.Timeout | undefined;
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
      met = found;
      const { coordination, address } = found;
      state = initialState(options, address);
      table = followTable(
        coordination,
        prefix,
        view => {
          happen({ event: 'seen', view });
          tellFormed();
          if (isAlone()) allGone?.();
        },
        giveUp,
      );
      membership = keepMembership({
        coordination,
        leaseMs: options.leaseMs,
        around: {
          setFence: around.setFence,
          bootMs: around.bootMs,
          leased: () => happen({ event: 'leased' }),
          lost: fenced,
          failed: giveUp,
        },
      });
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
    for (let next = happenings.shift(); next !== undefined; next = happenings.shift()) {
      const after = step(state, next, around.nowMs(), Math.random());
      state = after.state;
      if (after.write !== undefined) void perform(after.write);
      clearTimeout(wake);
      const { wakeAtMs } = after;
      if (wakeAtMs !== undefined) {
        const delayMs = Math.min(Math.max(0, wakeAtMs - around.nowMs()), maxTimerMs);
        wake = setTimeout(() => happen({ event: 'time' }), delayMs);
      }
      for (const told of after.told) hear(told);
    }
    busy = false;
  }

  async function perform({ compares, changes }: Write): Promise<void> {
    const lease = membership?.lease();
    try {
      if (met === undefined || state === undefined) return;
      const { isDone, revision, entries } = await met.coordination.txn(
        compares.map(each => ({ ...each, key: prefix + each.key })),
        changes.map(change => {
          if ('delete' in change) return { delete: prefix + change.delete };
          const { put, value, isLeased = false } = change;
          if (isLeased && lease === undefined)
            throw new CoordinationError('LEASE_LOST', 'no lease');
          return { put: prefix + put, value, ...(isLeased && lease ? { lease } : {}) };
        }),
      );
      if (isDone) {
        happen({ event: 'written', revision });
        return;
      }
      // Others were faster: it's decided again once that's seen. Keys that are gone tell nothing of when they went.
      const newest = Math.max(0, ...entries.map(({ modified }) => modified));
      if (newest > state.view.revision) happen({ event: 'written', revision: newest });
      else writeLater();
    } catch (error) {
      if (isOver) return;
      if (error instanceof CoordinationError && error.code === 'LEASE_LOST') {
        if (lease !== undefined) membership?.lost(lease);
        writeLater();
      } else if (error instanceof CoordinationError && error.code !== 'INVALID') {
        writeLater();
      } else {
        giveUp(error);
      }
    }
  }

  function writeLater(): void {
    setTimeout(() => {
      if (!isOver) happen({ event: 'written', revision: 0 });
    }, retryMs);
  }

  function fenced(): void {
    const round = roundOf(state);
    const wasForming = dropForming();
    if (round !== undefined && !wasForming)
      around.tell({ event: 'round-broken', round, because: 'fenced' });
    happen({ event: 'lease-lost' });
    if (wasForming) happen({ event: 'join' });
  }

  function hear(told: Told): void {
    switch (told.tell) {
      case 'round-formed':
        forming = told;
        if (told.groupRank === 0) serveStore(told.round.number);
        tellFormed();
        return;
      case 'round-broken': {
        const { round, because } = told;
        around.notice(round, because, told.agents.map(nodeOf));
        if (dropForming()) {
          happen({ event: 'join' });
          return;
        }
        const why = because === 'failed' ? 'peer-failure' : 'membership';
        around.tell({ event: 'round-broken', round, because: why });
        return;
      }
      case 'restart':
        tellRestart(told);
        return;
      case 'verdict':
        dropForming();
        clearTimeout(joinLimit);
        // Nobody takes this node's place any more.
        void membership?.close();
        around.tell({ event: 'verdict', round: 0, verdict: lastVerdict(told.verdict) });
        return;
      case 'refused':
        giveUp(launchError('ERR_RENDEZVOUS', [refusal(told.theirs, options.settings)]));
        return;
    }
  }

  /** What others need before they may start: where the round's store is. */
  function serveStore(round: number): void {
    try {
      const address: StoreAddress = { host: met?.address ?? '', port: around.openStore(round) };
      void publish(prefix + keys.store(round), JSON.stringify(address));
    } catch (error) {
      giveUp(error);
    }
  }

  async function publish(key: string, value: string): Promise<void> {
    const round = forming?.round.number;
    const lease = membership?.lease();
    try {
      if (lease !== undefined) await met?.coordination.put(key, value, lease);
    } catch {
      // It's still wanted, unless the round is over.
      if (isOver || round === undefined || forming?.round.number !== round) return;
      setTimeout(() => void publish(key, value), retryMs);
    }
  }

  function tellFormed(): void {
    const store = forming && state?.view.stores.get(String(forming.round.number))?.value;
    if (forming === undefined || store === undefined) return;
    const { round, groupRank } = forming;
    forming = undefined;
    clearTimeout(joinLimit);
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
    const { round, groupRank } = forming;
    forming = undefined;
    if (groupRank === 0) around.closeStore(round.number);
    return true;
  }

  function tellRestart({ round, ending, spent }: Extract<Told, { tell: 'restart' }>): void {
    const { maxRestarts } = options.policy;
    const { delayMs = 0, rule, windowLeft } = ending ?? {};
    around.tell({
      event: 'verdict',
      round,
      verdict: {
        do: 'restart',
        round: round + 1,
        delayMs,
        restartsLeft: maxRestarts - spent,
        maxRestarts,
        ...(rule === undefined ? {} : { rule }),
        ...(windowLeft === undefined ? {} : { windowLeft }),
      },
    });
  }

  function lastVerdict(verdict: JobVerdict): LastVerdict {
    if (verdict.is === 'succeeded') return { do: 'end' };
    const { because, rule, round, agent } = verdict;
    const failures = state?.view.failures.get(`${round}/${agent}`)?.value.report?.failures;
    return {
      do: 'fail',
      because,
      ...(rule === undefined ? {} : { rule }),
      ...(failures === undefined ? {} : { failures }),
    };
  }

  function nodeOf(agent: string): string {
    return state?.view.members.get(agent)?.value.node ?? agent.replace(/\.[^.]*$/, '');
  }

  function isAlone(): boolean {
    const agents = [...(state?.view.members.keys() ?? [])];
    return agents.every(agent => agent === options.agent);
  }

  function giveUp(error: unknown): void {
    if (isOver) return;
    around.failed(asRendezvousError(error));
  }

  function limitJoin(): void {
    clearTimeout(joinLimit);
    joinLimit = setTimeout(() => {
      // The first connection has a limit of its own.
      if (state === undefined) return limitJoin();
      if (membership?.lease() === undefined) {
        const why = `the rendezvous could not be reached for ${options.joinTimeoutMs / 1000} s; is the node that serves it, or its process, gone?`;
        return giveUp(launchError('ERR_RENDEZVOUS', [why]));
      }
      // Whoever is more than a round takes waits for a vacancy, however long.
      const round = state.view.round?.value;
      if (round !== undefined && round.ending === undefined) limitJoin();
      else giveUp(launchError('ERR_RENDEZVOUS', [tooFew()]));
    }, options.joinTimeoutMs);
  }

  function tooFew(): string {
    const { settings, joinTimeoutMs } = options;
    const nodes = [...(state?.view.members.values() ?? [])].map(({ value }) => value.node).sort();
    const came = nodes.length === 0 ? 'none' : `${nodes.length} (${nodes.join(', ')})`;
    return `${settings.minNodes} nodes are needed, and ${came} came in ${joinTimeoutMs / 1000} s; start the others with the same --rdzv-id and --rdzv-endpoint, or give them more time with --rdzv-conf join_timeout=SECONDS`;
  }

  async function linger(): Promise<void> {
    if (!met?.isHost || state?.view.verdict === undefined || isAlone()) return;
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, lingerMs);
      allGone = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  return {
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
      clearTimeout(joinLimit);
      happen({ event: 'leave' });
    },
    async close() {
      clearTimeout(joinLimit);
      const closing = membership?.close();
      await linger();
      isOver = true;
      clearTimeout(wake);
      table?.close();
      await closing;
      await met?.coordination.close();
    },
  };
}

function initialState(options: TogetherOptions, address: string): ParticipantState {
  const { agent, hostname, nodeRank, localWorldSize, settings, policy } = options;
  const { lastCallMs, returnGraceMs, growDebounceMs } = options;
  const hint = nodeRank === undefined ? {} : { hint: nodeRank };
  return {
    self: { agent, node: `${hostname} (${address})`, localWorldSize, ...hint },
    options: { settings, policy, lastCallMs, returnGraceMs, growDebounceMs },
    view: emptyView,
    incarnation: 0,
    local: { is: 'idle' },
    hasLease: false,
    isWriting: false,
    notBefore: 0,
  };
}

/** The round that an agent's workers may be in. */
function roundOf(state: ParticipantState | undefined): number | undefined {
  const { local } = state ?? {};
  if (local === undefined || local.is === 'waiting' || !('round' in local)) return undefined;
  return local.round;
}

function placeOf({ participants }: SharedRound, groupRank: number): Place {
  const sizes = participants.map(each => each.localWorldSize);
  const sum = (some: readonly number[]): number => some.reduce((all, each) => all + each, 0);
  return {
    groupRank,
    groupWorldSize: participants.length,
    firstRank: sum(sizes.slice(0, groupRank)),
    worldSize: sum(sizes),
  };
}

function refusal(theirs: Settings, ours: Settings): string {
  const say = ({ minNodes, maxNodes, nodesPerUnit }: Settings): string =>
    `--nnodes ${minNodes}:${maxNodes}${nodesPerUnit === 1 ? '' : ` --nnodes-unit ${nodesPerUnit}`}`;
  return `the job was started with ${say(theirs)}, and this node with ${say(ours)}; give all nodes the same, or another --rdzv-id`;
}

function asRendezvousError(error: unknown): unknown {
  if (!(error instanceof CoordinationError)) return error;
  return launchError('ERR_RENDEZVOUS', [error.message], error);
}
