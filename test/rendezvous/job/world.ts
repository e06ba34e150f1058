import type { WorkerFailure } from '../../../lib/events.js';
import type { FailurePolicy } from '../../../lib/options/failures.js';
import { isRegistered } from '../../../lib/rendezvous/job/move.js';
import { type ParticipantEvent, step } from '../../../lib/rendezvous/job/participant.js';
import {
  draftOf,
  emptyView,
  type SharedRound,
  type View,
} from '../../../lib/rendezvous/job/shared.js';
import {
  initialParticipant,
  type ParticipantState,
  type Write,
} from '../../../lib/rendezvous/job/state.js';
import { isForlorn } from '../../../lib/rendezvous/job/write.js';
import { settingsOf } from './settings.js';

/**
 * A job of several agents in one process, with a clock of its own: a table with leases and revisions, agents that see it
 * late, lose answers, freeze, crash, are cut off, and workers that fail or succeed. What happens next is chosen by a
 * number; whatever must never be is checked after everything that happens.
 */

const ttlMs = 5_000;
const marginMs = 1_000;
/** For how long a client waits for a server that it can ask. */
const attemptMs = 5_000;

export interface WorldOptions {
  readonly agents: number;
  readonly minNodes: number;
  readonly maxNodes: number;
  readonly maxRestarts: number;
  readonly nodesSet: readonly number[];
  /** Nodes follow each other in groups of so many; 0: they are in none. */
  readonly nodesPerGroup: number;
  readonly groupSize: number;
  readonly strikes: number;
  /** Little time passes between what happens: others' leases and fences live still. */
  readonly isHasty: boolean;
  /** The seed of all that's chosen. */
  readonly seed: number;
}

interface Stored {
  readonly value: string;
  readonly created: number;
  readonly modified: number;
  readonly lease: number | undefined;
}
type Change = { readonly key: string; readonly stored?: Stored };

interface Agent {
  readonly name: string;
  state: ParticipantState;
  /** Changes of the log that it has seen. */
  seen: number;
  /** The server that it has seen them of. */
  epoch: number;
  lease: { readonly id: number; readonly epoch: number; confirmedAtMs: number } | undefined;
  /** Since when it has asked for a lease, again and again. */
  askedAtMs: number;
  /** When its workers are killed. */
  fenceAtMs: number | undefined;
  /** It has a lease, or is about to, that others don't know its workers of yet: that moves no fence. */
  isUnregistered: boolean;
  /** The server that its client has reached last. */
  met: number;
  /** On its way to the server, or its answer on its way back. */
  flight: { readonly write: Write; answered?: number } | undefined;
  workers: { readonly round: number; epoch: number; isStopping: boolean } | undefined;
  /** What it was told and hasn't done. */
  wantsToJoin: boolean;
  isFrozen: boolean;
  isCut: boolean;
  isGone: boolean;
  isLeaving: boolean;
  /** Its workers are being stopped for a failure of their own. */
  isFailing: boolean;
  /** The server at which it was in its first round. */
  firstEpoch: number | undefined;
  wakeAtMs: number | undefined;
  ending: string | undefined;
}

export class World {
  readonly log: string[] = [];
  readonly agents: Agent[] = [];
  nowMs = 1_000_000;
  /** No faults from now on. */
  isCalm = false;
  rounds = 0;
  /** Agents whose workers have lived on at another server. */
  kept = 0;
  /** Rounds that nodes which were left out were needed for. */
  left = 0;

  private readonly table = new Map<string, Stored>();
  private readonly changes: (readonly Change[])[] = []; // by revision - 1
  private readonly leases = new Map<number, number>(); // its end
  /** Writes whose agents have given them up, and that may arrive still. */
  private readonly late: { readonly by: Agent; readonly write: Write; readonly lease: number }[] =
    [];
  private nextLease = 1;
  /** Servers before this one, whose tables are lost. */
  private epoch = 0;
  /** Whoever asks is refused. */
  private isDown = false;
  /** Until then nothing more fails, so that what the last fault leads to has time to. */
  private quietUntilMs = 0;
  private made = 0;
  private random: number;

  constructor(private readonly options: WorldOptions) {
    this.random = options.seed * 2_654_435_761 + 1;
    for (let i = 0; i < options.agents; i++) this.start(`node${i}`);
  }

  /** A number below `limit`. */
  choose(limit: number): number {
    this.random = (Math.imul(this.random, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((this.random / 2 ** 32) * limit);
  }

  start(node: string): void {
    const { maxRestarts, strikes } = this.options;
    const policy: FailurePolicy = { maxRestarts, rules: [], resetOnProgress: false };
    const name = `${node}.${this.made++}`;
    this.agents.push({
      name,
      state: initialParticipant(
        { agent: name, node, localWorldSize: 1, ...this.groupOf(node) },
        {
          agent: name,
          settings: settingsOf({ ...pick(this.options), leaseMs: ttlMs }),
          policy,
          lastCallMs: 2_000,
          returnGraceMs: 1_000,
          growDebounceMs: 1_000,
          ...(strikes === 0 ? {} : { strikes: { failures: strikes, perMs: 10_000 } }),
        },
      ),
      seen: 0,
      epoch: this.epoch,
      lease: undefined,
      askedAtMs: this.nowMs,
      fenceAtMs: undefined,
      isUnregistered: false,
      met: this.epoch,
      flight: undefined,
      workers: undefined,
      wantsToJoin: true,
      isFrozen: false,
      isCut: false,
      isGone: false,
      isLeaving: false,
      isFailing: false,
      firstEpoch: undefined,
      wakeAtMs: undefined,
      ending: undefined,
    });
  }

  /** By hints, nodes of groups would be mixed. */
  private groupOf(node: string): { group?: string; hint?: number } {
    const { nodesPerGroup } = this.options;
    if (nodesPerGroup === 0) return {};
    const number = Number(node.slice(4));
    return { group: `rack${Math.floor(number / nodesPerGroup)}`, hint: (number * 3) % 5 };
  }

  get live(): readonly Agent[] {
    return this.agents.filter(agent => !agent.isGone);
  }

  /** All that could happen now, with how likely each is. */
  private possible(): [number, string, () => void][] {
    const all: [number, string, () => void][] = [];
    const calm = this.isCalm;
    const { isHasty } = this.options;
    const quiet = calm || this.nowMs < this.quietUntilMs;
    for (const agent of this.live) {
      const { name } = agent;
      const can = (weight: number, what: string, does: () => void) =>
        all.push([weight, `${name} ${what}`, does]);
      if (agent.isFrozen) {
        can(calm ? 50 : 2, 'thaws', () => {
          agent.isFrozen = false;
        });
        continue;
      }
      if (agent.isCut) {
        can(calm ? 50 : quiet ? 0.1 : 2, 'is connected again', () => {
          agent.isCut = false;
        });
      } else if (this.isDown) {
        if (agent.lease !== undefined || agent.isUnregistered)
          can(10, 'is refused', () => this.refuse(agent));
      } else {
        if (agent.lease === undefined) can(20, 'gets a lease', () => this.grant(agent));
        else can(10, 'renews', () => this.renew(agent));
        if (agent.seen < this.changes.length || agent.epoch < this.epoch)
          can(30, 'sees', () => this.see(agent));
        const { flight } = agent;
        if (flight !== undefined && flight.answered === undefined) {
          can(20, 'writes', () => this.write(agent));
        }
        if (flight?.answered !== undefined) {
          const revision = flight.answered;
          can(20, 'hears', () => this.hear(agent, { event: 'written', revision }));
        }
      }
      if (agent.flight !== undefined && !quiet) {
        can(1, 'hears nothing of its write', () => this.giveUp(agent));
      }
      if (agent.wantsToJoin && agent.workers === undefined && agent.ending === undefined) {
        can(20, 'joins', () => {
          agent.wantsToJoin = false;
          this.happen(agent, { event: 'join' });
        });
      }
      const { workers } = agent;
      if (workers?.isStopping === true) {
        can(10, `has stopped round ${workers.round}`, () => this.stopped(agent, workers.round));
      } else if (workers !== undefined) {
        if (!quiet) can(1, `fails in round ${workers.round}`, () => this.fail(agent));
        const isDone = agent.state.local.is === 'done';
        if (!isDone)
          can(calm ? 5 : 1, 'succeeds', () => this.happen(agent, { event: 'succeeded' }));
      }
      if (agent.wakeAtMs !== undefined && agent.wakeAtMs <= this.nowMs) {
        can(20, 'wakes', () => this.happen(agent, { event: 'time' }));
      }
      if (agent.isLeaving && agent.workers === undefined) {
        can(5, 'goes', () => this.go(agent));
      }
      if (quiet || agent.ending !== undefined) continue;
      can(0.3, 'freezes', () => {
        agent.isFrozen = true;
      });
      can(0.3, 'is cut off', () => {
        agent.isCut = true;
      });
      can(0.3, 'crashes', () => this.crash(agent));
      if (!agent.isLeaving) {
        can(0.2, 'leaves', () => {
          agent.isLeaving = true;
          agent.wantsToJoin = false;
          if (agent.workers !== undefined) agent.workers.isStopping = true;
          this.happen(agent, { event: 'leave' });
        });
      }
    }
    if (this.late.length > 0) {
      const [late] = this.late.splice(this.choose(this.late.length), 1);
      if (late !== undefined) {
        this.late.push(late);
        all.push([
          2,
          `a late write of ${late.by.name} arrives`,
          () => {
            this.late.pop();
            this.apply(late.write, late.lease);
          },
        ]);
      }
    }
    if (!calm) {
      const gone = this.agents.filter(agent => agent.isGone && agent.ending === undefined);
      const back = gone[this.choose(Math.max(gone.length, 1))];
      if (back !== undefined && this.live.length < this.options.agents) {
        const { node } = back.state.self;
        all.push([1, `${node} comes back`, () => this.start(node)]);
      }
    }
    if (this.isDown) {
      all.push([calm ? 50 : 3, 'a server starts', () => this.replaceServer()]);
      const other = this.live[this.choose(this.live.length)];
      if (other !== undefined && !calm) {
        const { name } = other;
        const cut = () => {
          // Not before it has heard that nobody was there.
          this.refuse(other);
          this.replaceServer();
          other.isCut = true;
          if (isHasty) this.quietUntilMs = this.nowMs + ttlMs;
        };
        all.push([isHasty ? 9 : 2, `a server starts that ${name} can't reach`, cut]);
      }
    } else if (!quiet) {
      all.push([0.4, 'the server is replaced', () => this.replaceServer()]);
      all.push([isHasty ? 1 : 0.4, 'the server dies', () => this.killServer()]);
    }
    all.push([15, 'time passes', () => this.pass(this.stepMs())]);
    return all;
  }

  /** One thing that happens. */
  turn(): void {
    const all = this.possible();
    let at = (this.choose(1_000_000) / 1_000_000) * all.reduce((sum, [weight]) => sum + weight, 0);
    const isIt = ([weight]: [number, ...unknown[]]): boolean => {
      at -= weight;
      return at < 0;
    };
    const [, what, does] = all.find(isIt) ?? (all[0] as (typeof all)[0]);
    this.log.push(`${this.nowMs} ${what}`);
    does();
  }

  private stepMs(): number {
    if (this.isCalm) return 200;
    return this.options.isHasty ? 10 + this.choose(200) : 50 + this.choose(1500);
  }

  private pass(ms: number): void {
    // As the thread that renews does, whatever else goes on.
    if (this.isCalm) {
      for (const agent of this.live) {
        if (agent.isFrozen || agent.isCut) continue;
        if (this.isDown) this.refuse(agent);
        else this.renew(agent);
      }
    }
    // Fences and leases end at their own moments, in their order.
    const until = this.nowMs + ms;
    for (;;) {
      const fences = this.live.flatMap(({ fenceAtMs }) => fenceAtMs ?? []);
      const next = Math.min(until, ...fences, ...this.leases.values());
      this.nowMs = Math.max(this.nowMs, next);
      for (const agent of this.live) {
        if (agent.fenceAtMs !== undefined && this.nowMs >= agent.fenceAtMs) this.fence(agent);
      }
      for (const [id, end] of this.leases) if (this.nowMs >= end) this.endLease(id);
      if (next >= until) return;
    }
  }

  /** By one that knows nothing. Writes that were meant for the old one are lost, and their writers know. */
  private replaceServer(): void {
    this.killServer();
    this.isDown = false;
  }

  private killServer(): void {
    if (this.isDown) return;
    this.isDown = true;
    this.epoch++;
    this.late.length = 0;
    this.table.clear();
    this.leases.clear();
    this.changes.length = 0;
    for (const agent of this.live) {
      if (agent.flight !== undefined) this.hear(agent, { event: 'written', revision: 0 });
    }
  }

  /** Nobody listens at the server's own address. */
  private refuse(agent: Agent): void {
    if (agent.lease === undefined && !agent.isUnregistered) return;
    agent.fenceAtMs = this.nowMs + ttlMs - marginMs;
  }

  private confirm(agent: Agent): void {
    if (agent.lease === undefined || agent.isUnregistered) return;
    agent.fenceAtMs = agent.lease.confirmedAtMs + ttlMs - marginMs;
  }

  /** The client reaches a server, which may be another one. */
  private meet(agent: Agent): void {
    if (agent.met === this.epoch) return;
    agent.met = this.epoch;
    this.move(agent);
    if (agent.flight !== undefined) this.hear(agent, { event: 'written', revision: 0 });
  }

  private move(agent: Agent): void {
    if (agent.lease !== undefined) {
      agent.lease = undefined;
      agent.askedAtMs = this.nowMs;
      agent.isUnregistered = true;
    }
    this.happen(agent, { event: 'moved' });
  }

  /** By the core, whatever the agent does at the moment. */
  private fence(agent: Agent): void {
    this.log.push(`${this.nowMs} ${agent.name} is fenced`);
    const had = agent.workers !== undefined;
    agent.workers = undefined;
    agent.isFailing = false;
    // An agent without a lease asks for one already.
    if (agent.lease !== undefined) agent.askedAtMs = this.nowMs;
    agent.lease = undefined;
    agent.fenceAtMs = undefined;
    agent.isUnregistered = false;
    if (agent.ending !== undefined) return;
    agent.wantsToJoin = agent.wantsToJoin || (had && !agent.isLeaving);
    this.happen(agent, { event: 'lease-lost' });
  }

  private grant(agent: Agent): void {
    this.meet(agent);
    const id = this.nextLease++;
    this.leases.set(id, this.nowMs + ttlMs);
    // The server counts from now on, and the agent from when it asked, perhaps while nobody was there.
    const confirmedAtMs = Math.max(agent.askedAtMs, this.nowMs - attemptMs);
    agent.lease = { id, epoch: this.epoch, confirmedAtMs };
    this.confirm(agent);
    this.happen(agent, { event: 'leased' });
  }

  private renew(agent: Agent): void {
    const { lease } = agent;
    if (lease === undefined) return;
    if (lease.epoch < this.epoch) {
      this.move(agent);
      return;
    }
    if (!this.leases.has(lease.id)) {
      this.fence(agent);
      return;
    }
    this.leases.set(lease.id, this.nowMs + ttlMs);
    lease.confirmedAtMs = this.nowMs;
    this.confirm(agent);
  }

  private endLease(id: number): void {
    this.leases.delete(id);
    const keys = [...this.table].filter(([, { lease }]) => lease === id).map(([key]) => key);
    for (const key of keys) this.table.delete(key);
    if (keys.length > 0) this.changes.push(keys.map(key => ({ key })));
  }

  private see(agent: Agent): void {
    this.meet(agent);
    const isAnew = agent.epoch < this.epoch;
    if (isAnew) {
      agent.epoch = this.epoch;
      agent.seen = 0;
    }
    // What's read anew is all of it.
    const upTo = isAnew
      ? this.changes.length
      : agent.seen + 1 + this.choose(this.changes.length - agent.seen);
    const draft = draftOf(isAnew ? emptyView : agent.state.view, '');
    for (; agent.seen < upTo; agent.seen++) {
      for (const { key, stored } of this.changes[agent.seen] ?? []) {
        if (stored === undefined) draft.delete(key);
        else {
          const { value, created, modified } = stored;
          draft.put({ key, value, created, modified });
        }
      }
    }
    const view: View = { ...draft.view(upTo), table: `server ${this.epoch}` };
    this.happen(agent, { event: 'seen', view, isAnew });
  }

  private write(agent: Agent): void {
    this.meet(agent);
    const { flight, lease } = agent;
    if (flight === undefined) return;
    this.apply(flight.write, lease?.id ?? 0);
    flight.answered = this.changes.length;
  }

  private giveUp(agent: Agent): void {
    const { flight, lease } = agent;
    // What was decided of another server's table, its client doesn't send to this one.
    const isSent = agent.met === this.epoch && !this.isDown;
    if (flight !== undefined && flight.answered === undefined && isSent) {
      this.late.push({ by: agent, write: flight.write, lease: lease?.id ?? 0 });
    }
    this.hear(agent, { event: 'written', revision: 0 });
  }

  /** As the server does, whenever the write arrives. */
  private apply({ compares, changes }: Write, lease: number): void {
    const holds = compares.every(compare => {
      const stored = this.table.get(compare.key);
      if ('is' in compare) return stored === undefined;
      return 'modified' in compare && stored?.modified === compare.modified;
    });
    const isLeaseLost = changes.some(({ isLeased }) => isLeased) && !this.leases.has(lease);
    if (!holds || isLeaseLost) return;
    const revision = this.changes.length + 1;
    const made: Change[] = [];
    for (const change of changes) {
      if (!('put' in change)) {
        if (this.table.delete(change.delete)) made.push({ key: change.delete });
        continue;
      }
      const stored = {
        value: change.value,
        created: this.table.get(change.put)?.created ?? revision,
        modified: revision,
        lease: change.isLeased === true ? lease : undefined,
      };
      if (change.put === 'round') this.checkWrite(this.table.get('round')?.value, change.value);
      this.table.set(change.put, stored);
      made.push({ key: change.put, stored });
      this.log.push(`${this.nowMs}   ${change.put} = ${change.value}`);
    }
    this.changes.push(made);
  }

  private checkWrite(before: string | undefined, after: string): void {
    checkRound(before, after, this.epoch > 0);
    const round: SharedRound = JSON.parse(after);
    if (round.isRestored) return;
    const old: SharedRound | undefined = before === undefined ? undefined : JSON.parse(before);
    this.checkStrikes(old, round);
    // What a table has lost its members bring, as long as they're there: nobody is given the budget anew.
    for (const { agent } of round.participants) {
      const there = this.agents.find(({ name, isGone }) => name === agent && !isGone);
      const past = there?.state.past;
      // Of a later round, which somebody else knows, the ledger counts.
      const known = past?.number === round.number - 1 ? past.ledger.spent : 0;
      if (round.ending === undefined && round.ledger.spent < known) {
        throw new Error(`${agent} knows of ${known} restarts, and ${round.ledger.spent} are spent`);
      }
    }
  }

  /** A node that's left out takes no part where the others are enough, nor does a round end for it. */
  private checkStrikes(before: SharedRound | undefined, round: SharedRound): void {
    const { participants, ending } = round;
    const isStruck = (node: string): boolean =>
      before?.strikes?.leftOut.some(each => each.node === node && each.untilMs > this.nowMs) ??
      false;
    if (ending?.because === 'growth') {
      const nodes = ending.agents.map(agent => agent.split('.')[0] ?? '');
      if (nodes.some(isStruck)) throw new Error(`a round ends for ${nodes}, which are left out`);
    }
    if (ending !== undefined) return;
    const well = participants.filter(({ node }) => !isStruck(node));
    if (well.length === participants.length) return;
    this.left++;
    if (this.isLegal(well.map(({ node }) => node))) {
      throw new Error(`round ${round.number} has nodes that are left out`);
    }
  }

  private hear(agent: Agent, event: ParticipantEvent): void {
    agent.flight = undefined;
    this.happen(agent, event);
  }

  private fail(agent: Agent): void {
    if (agent.workers === undefined) return;
    agent.workers.isStopping = true;
    agent.isFailing = true;
    this.happen(agent, { event: 'failing', round: agent.workers.round });
  }

  /** No worker is left. One that has failed reports it, and joins again when it's told to. */
  private stopped(agent: Agent, round: number): void {
    agent.workers = undefined;
    if (!agent.isFailing) {
      agent.wantsToJoin = !agent.isLeaving;
      return;
    }
    agent.isFailing = false;
    const failures: readonly WorkerFailure[] = [];
    const report = {
      round,
      failures,
      ranMs: 1,
      atMs: this.nowMs,
      progress: 0,
      isStuck: false,
      chance: 0,
    };
    this.happen(agent, { event: 'failed', report });
  }

  /** Its workers die with it: the guardian sees to that. */
  private crash(agent: Agent): void {
    agent.isGone = true;
    agent.workers = undefined;
  }

  private go(agent: Agent): void {
    agent.isGone = true;
    if (agent.lease !== undefined && !agent.isCut) this.endLease(agent.lease.id);
  }

  private happen(agent: Agent, event: ParticipantEvent): void {
    const after = step(agent.state, event, this.nowMs, 0);
    agent.state = after.state;
    agent.wakeAtMs = after.wakeAtMs ?? (event.event === 'time' ? undefined : agent.wakeAtMs);
    if (after.write !== undefined) agent.flight = { write: after.write };
    if (agent.isUnregistered && isRegistered(agent.state)) {
      agent.isUnregistered = false;
      const refusedFenceMs = agent.fenceAtMs ?? 0;
      this.confirm(agent);
      // The last refusal may have moved it further.
      agent.fenceAtMs = Math.max(agent.fenceAtMs ?? 0, refusedFenceMs);
      if (agent.workers !== undefined) {
        agent.workers.epoch = this.epoch;
        this.kept++;
      }
    }
    for (const told of after.told) {
      this.log.push(`${this.nowMs}   ${agent.name} is told ${told.tell}`);
      switch (told.tell) {
        case 'round-formed':
          this.begin(agent, told.round, told.groupRank);
          break;
        case 'round-broken':
          if (agent.workers !== undefined) agent.workers.isStopping = true;
          else agent.wantsToJoin = true;
          break;
        case 'restart':
          agent.wantsToJoin = !agent.isLeaving;
          break;
        case 'verdict':
          agent.ending = told.verdict.is;
          agent.workers = undefined;
          break;
        case 'refused':
        case 'missed':
          throw new Error(`${agent.name} is told ${told.tell}`);
      }
    }
  }

  /** Where rounds begin, whatever must never be would be. */
  private begin(agent: Agent, round: SharedRound, groupRank: number): void {
    if (agent.workers !== undefined) throw new Error(`${agent.name} runs already`);
    if (round.participants[groupRank]?.agent !== agent.name) throw new Error('a rank of another');
    const names = new Set(round.participants.map(each => each.agent));
    if (names.size !== round.participants.length) throw new Error('an agent twice');
    this.checkSize(round.participants);
    // Who never was in a round can't know of one whose server was lost; its workers end with their fences.
    const knew = this.agents.some(
      ({ name, firstEpoch = this.epoch }) => firstEpoch < this.epoch && names.has(name),
    );
    for (const other of this.live) {
      if (other.workers !== undefined && other.workers.epoch < this.epoch && !knew) continue;
      if (other.workers !== undefined && other.workers.round !== round.number) {
        throw new Error(
          `${agent.name} begins round ${round.number} while ${other.name} runs round ${other.workers.round}`,
        );
      }
    }
    this.rounds = Math.max(this.rounds, round.number + 1);
    agent.firstEpoch ??= this.epoch;
    agent.workers = { round: round.number, isStopping: false, epoch: this.epoch };
  }

  private checkSize(participants: SharedRound['participants']): void {
    const { minNodes, maxNodes, nodesSet, groupSize } = this.options;
    const size = participants.length;
    const isLegal = nodesSet.length === 0 || nodesSet.includes(size);
    if (size < minNodes || size > maxNodes || !isLegal) throw new Error(`a round of ${size}`);
    const groups = participants.map(({ node, group }) => {
      if (group !== this.groupOf(node).group) throw new Error(`${node} in group ${group}`);
      return group ?? '';
    });
    for (const group of new Set(groups)) {
      const [first, last] = [groups.indexOf(group), groups.lastIndexOf(group)];
      const count = groups.filter(each => each === group).length;
      if (count % groupSize !== 0) throw new Error(`${count} of group ${group}`);
      if (group !== '' && last - first + 1 !== count) throw new Error(`${group} is torn apart`);
    }
  }

  /** Whether those who may take part still are enough for a round. */
  isEnough(): boolean {
    const [one, another] = this.remaining();
    // It doesn't know whether the others have ended it.
    if (one !== undefined && another === undefined && isForlorn(one.state)) return false;
    return this.isLegal(this.remaining().map(({ state }) => state.self.node));
  }

  /** Whether a round can be made of some of these nodes. */
  private isLegal(nodes: readonly string[]): boolean {
    const { minNodes, maxNodes, nodesSet, groupSize } = this.options;
    const groups = new Map<string | undefined, number>();
    for (const node of nodes) {
      const { group } = this.groupOf(node);
      groups.set(group, (groups.get(group) ?? 0) + 1);
    }
    const whole = [...groups.values()].reduce((sum, n) => sum + n - (n % groupSize), 0);
    for (let size = minNodes; size <= Math.min(whole, maxNodes); size++) {
      const isLegal = nodesSet.length === 0 || nodesSet.includes(size);
      if (isLegal && size % groupSize === 0) return true;
    }
    return false;
  }

  /** Agents that may take part in a round still. */
  private remaining(): readonly Agent[] {
    // A verdict that its server didn't outlive has ended those whom it had reached.
    const isIn = (agent: Agent): boolean => this.epoch === 0 || agent.ending === undefined;
    return this.live.filter(agent => !agent.isLeaving && isIn(agent));
  }

  /** The verdict that was given, and whether everybody who could know does. */
  settled(): string | undefined {
    const endings = new Set(this.live.map(agent => agent.ending));
    if (endings.size <= 1) return [...endings][0];
    // A verdict that its server didn't outlive isn't known to those who come after it.
    return this.epoch > 0 && !endings.has(undefined) ? 'several' : undefined;
  }
}

function pick({ minNodes, maxNodes, nodesSet, groupSize }: WorldOptions) {
  return { minNodes, maxNodes, nodesSet, groupSize };
}

/** Rounds follow each other, and each has an end before the next one. */
function checkRound(before: string | undefined, after: string, mayJump: boolean): void {
  const { number, restartCount, ending, isRestored }: SharedRound = JSON.parse(after);
  const old: SharedRound | undefined = before === undefined ? undefined : JSON.parse(before);
  const is = (): boolean => {
    // One that's brought may have ended already.
    if (isRestored && mayJump) {
      return old === undefined || (old.isRestored === true && number >= old.number);
    }
    if (old?.isRestored) return number === old.number;
    if (old?.number === number) return old.ending === undefined && ending !== undefined;
    if (ending !== undefined) return false;
    if (old === undefined) return true;
    // A table that came anew may begin with any number, and learn of a higher one.
    return (
      old.ending !== undefined && (number === old.number + 1 || (mayJump && number > old.number))
    );
  };
  if (!is()) throw new Error(`round ${number} after round ${old?.number}`);
  if (restartCount !== number) throw new Error(`restart ${restartCount} in round ${number}`);
}
