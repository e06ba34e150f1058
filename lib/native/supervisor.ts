import type { NativeGroupPlan } from './plan.js';

export interface NativeStop {
  readonly signal: number;
  /** `leader`: the worker itself; `group`: its whole process group. */
  readonly target: 'leader' | 'group';
  /** From now to SIGKILL. 0 kills at once. */
  readonly graceMs: number;
  /** From SIGKILL to giving up on processes that are stuck in the kernel. */
  readonly killWaitMs: number;
}

/** The supervisor thread, and the output thread once something is piped. */
export interface NativeSupervisor {
  /** Starts all workers or none; the outcome comes as `started` or `start-failed`. */
  startGroup(plan: NativeGroupPlan): void;
  /**
   * Makes standbys the workers of a round, in their order; the group keeps its number and its cookie. One that's dead,
   * refuses, or hasn't answered `started` in time is replaced by a process that starts from the plan. One that has yet to park
   * does so first. The outcome comes as `started`, once more, `start-failed` or `not-taken`.
   *
   * @param plan of that group's number, with as many workers. @param orders one for each, as a message with its length; the
   *   descriptors of streams that are pipes or files ride on the first byte. @param answerMs for all answers. @default 10_000
   */
  takeOver(plan: NativeGroupPlan, orders: readonly Buffer[], answerMs?: number): void;
  /**
   * Signals, continues stopped processes, and kills the workers that are left when the grace period ends. A second call
   * can only shorten the grace period. A group that is still starting is stopped as soon as it has started; while its
   * log files are being opened, its start fails with ECANCELED. Unknown or ended groups: nothing.
   */
  stopGroup(group: number, stop: NativeStop): void;
  /** Signals every live worker of the group, and stops nothing. */
  signalGroup(group: number, signal: number, target: 'leader' | 'group'): void;
  /** Signals one worker itself, by its place in the plan; nobody, once it's gone. */
  signalLeader(group: number, index: number, signal: number): void;
  /**
   * Reaps zombie children of this process that the supervisor hasn't started. For process 1, which
   * inherits orphans; whatever else this process has started loses its status, unless it's a guest.
   */
  reapOrphans(): void;
  /**
   * For a child that Node starts, before it does, and that will bear `REGROUP_COOKIE=<cookie>`: from now
   * on the guardian knows it, and `reapOrphans` takes no status. Blocks until that's so, for a moment.
   */
  beginGuest(cookie: string): void;
  /** Such a child has been waited for. */
  endGuest(cookie: string): void;
  /**
   * How long the supervisor's thread has owed an answer that one of these calls has asked it for. 0: it owed none, and is
   * asked anew. Doesn't wait for it.
   */
  owesMs(): number;
  /**
   * Moves the fence, forward or back, or removes it. When `boottimeMs` has come there every worker is killed, and what
   * it has started, whatever JS does, and `fenced` is told. It stays passed until it's moved: a group that starts then
   * is killed as soon as it has started. While this process is stopped, or a start holds up the supervisor, the guardian kills
   * the workers. Doesn't wait for the supervisor.
   *
   * @throws with `code` and `syscall`, where the kernel has no such timer for us
   */
  setFence(atMs: number | undefined): void;
  /** Moves the fence forward, if there's one and it hasn't passed. @throws as `setFence` */
  postponeFence(atMs: number): void;
  /** Kills every group, now, and waits at most `boundMs`. For `process.on('exit')`; blocks. */
  killAll(boundMs: number): void;
  /**
   * Ends the threads. Groups that are left are killed. Blocks for some seconds at most: a thread that hangs is left
   * behind. The output thread ends with the last who uses it: what consoles take within seconds is still written.
   * Idempotent.
   */
  close(): void;
}
