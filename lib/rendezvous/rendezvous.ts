import type { FailReason, WorkerFailure } from '../events.js';

/**
 * The agents of a job, as one of them sees it: who takes part in a round and in which order, and what the job does when
 * a round has failed. An agent joins, reports what becomes of its worker group, and is told a round or a verdict; it
 * counts no restarts, numbers no rounds and gives no ranks.
 */
export interface Rendezvous {
  /** This node is ready for a round: `round-formed` follows, or `verdict`, unless it leaves before. */
  join(): void;
  /** Some of this node's workers have failed, and the others are being stopped: so are other nodes'. */
  announce(round: number): void;
  /** This node's workers have failed, and are gone: `verdict` follows. */
  report(report: FailureReport): void;
  /** This node's workers have all succeeded: `verdict` follows, or `round-broken`. */
  succeed(round: number): void;
  /** This node doesn't want a round any more, nor what it's in: its workers are about to end. */
  leave(): void;
  /**
   * Another round is to take the place of this one, though all are well: `round-broken` follows. It costs no restart. Absent:
   * that can't be had.
   */
  renew?(round: number): void;
  /**
   * The job has failed, and no worker of this node is left: the others are told what became of them. `peers-ended`
   * follows, where the verdict has said so.
   *
   * @param failures this node's, the root cause first
   */
  conclude(failures: readonly WorkerFailure[]): void;
}

/** What an agent is told. */
export type RendezvousEvent =
  | ({ readonly event: 'round-formed' } & FormedRound)
  | { readonly event: 'verdict'; readonly round: number; readonly verdict: Verdict }
  /** Workers of the round are to be stopped, for what happens elsewhere. Another round follows, or a verdict. */
  | {
      readonly event: 'round-broken';
      readonly round: number;
      readonly because: BreakReason;
      /** When it took effect, where that's before now: by CLOCK_MONOTONIC. */
      readonly atMs?: number;
    }
  /** What became of the other nodes' workers in a job that has failed, as far as it was told in time. */
  | { readonly event: 'peers-ended'; readonly failures: readonly WorkerFailure[] };

/**
 * Why a round is over although this node's workers are well.
 *
 * - `peer-failure`, `peer-lost`: others have failed, or are gone; whoever waits for them waits in vain
 * - `membership`: nodes have come, or are about to go; all are well, and may save together
 * - `ordered`: somebody has asked for a new one
 * - `fenced`: this node can't prove any more that it takes part, and its workers must be gone before others take their place
 */
export type BreakReason = 'peer-failure' | 'peer-lost' | 'membership' | 'ordered' | 'fenced';

/** A round's numbers, and this node's place in it. */
export interface RoundPlan {
  /** Rounds of the job before it; it only grows. */
  readonly round: number;
  /** Restarts of the job before it, the same on every node: what TORCHELASTIC_RESTART_COUNT says. */
  readonly restartCount: number;
  readonly place: Place;
  /** Where the round's store is; absent: this node serves it, where the options say. */
  readonly master?: MasterAddress;
}

export interface MasterAddress {
  readonly host: string;
  readonly port: number;
  /** Whether this node serves it. */
  readonly isOurs: boolean;
  /** The worker of rank 0 serves it, whatever the options say: agents of the job are of a PyTorch that has it so. */
  readonly isWorkers?: boolean;
}

/** Where a node's workers stand among all. */
export interface Place {
  readonly groupRank: number;
  /** Nodes. */
  readonly groupWorldSize: number;
  /** Rank of local rank 0; the others follow. */
  readonly firstRank: number;
  /** Workers on all nodes. */
  readonly worldSize: number;
}

export interface FormedRound extends RoundPlan {
  /** The round that would follow its failure, where that's known: it may be prepared while this one ends. */
  readonly following?: RoundPlan;
}

/** What a failed round was on one node. */
export interface FailureReport {
  readonly round: number;
  /** The root cause first. */
  readonly failures: readonly WorkerFailure[];
  /** Time from the start of the first worker to the stop. */
  readonly ranMs: number;
  /** When all had ended, by CLOCK_MONOTONIC. */
  readonly atMs: number;
  /** The highest step that a worker has told; 0 if none did. */
  readonly progress: number;
  /** Whether a worker is stuck in the kernel. */
  readonly isStuck: boolean;
  /** Drawn by chance, at least 0 and below 1: spreads back-off. */
  readonly chance: number;
}

/** What follows from a round. */
export type Verdict =
  /** The job has succeeded. */
  | { readonly do: 'end' }
  | {
      readonly do: 'restart';
      /** The one to come. */
      readonly round: number;
      /** A pause before it. */
      readonly delayMs: number;
      readonly restartsLeft: number;
      readonly maxRestarts: number;
      /** The failure rule that has decided. */
      readonly rule?: string;
      /** Restarts that the window still allows at this moment. */
      readonly windowLeft?: number;
    }
  | {
      readonly do: 'fail';
      readonly because: FailReason | 'node-unfit';
      readonly rule?: string;
      /** Those of the node whose failure decided, the root cause first; absent: this node's. */
      readonly failures?: readonly WorkerFailure[];
      /** Other nodes tell what became of their workers; absent: nobody does. */
      readonly awaitsPeers?: true;
    };

/** What ends a job. */
export type LastVerdict = Exclude<Verdict, { do: 'restart' }>;
