import type { AgentEvent, WorkerIdentity } from '../events.js';
import { dumpRound, type GuardedRound, type HangGuard } from '../hangs/guard.js';
import type { HangOptions } from '../options/hangs.js';
import { isAlive } from '../system/alive.js';
import { procIsOurs } from '../system/own-proc.js';
import { signalName } from '../util/signals.js';
import { ownerOf, startedAt } from './owner.js';
import { openTimerPipe, type TimerPipe } from './pipe.js';
import { parseRequest } from './request.js';
import { type Expired, timerTable, type Which } from './table.js';

/**
 * PyTorch's file timers: a worker says by when it will be done, and is ended if it isn't. All of a run's rounds have one pipe.
 * A request may name any process, and only workers of ours are ever sent a signal: by the supervisor, which knows whether they're there.
 */
export interface FileTimers {
  /** Timers count for this round's workers from now on. */
  watch(round: TimedRound): HangGuard;
  close(): Promise<void>;
}

/** What timers need of a round. */
export interface TimedRound
  extends Pick<
    GuardedRound,
    'workers' | 'plans' | 'files' | 'path' | 'disk' | 'nowMs' | 'tell' | 'asGuests'
  > {
  /** Signals that worker itself; nobody, once it's gone. */
  signal(localRank: number, signal: number): void;
}

/** From one look at the clock on the wall, which may be set, to the next, while a timer runs. */
const maxSleepMs = 10_000;
/** From one look to the next, however many timers are due at once. */
const minSleepMs = 20;
/** Timers of one worker that are told, and that stacks are taken for, in a round. */
const maxToldOfOne = 16;

/** @param dumping how stacks are taken. @throws as `openTimerPipe` */
export async function openFileTimers(
  path: string,
  dumping: Pick<HangOptions, 'dumpMs' | 'dumpSignal'>,
): Promise<FileTimers> {
  const table = timerTable();
  const hasProc = procIsOurs();
  let timer: NodeJS.Timeout | undefined;
  let watched: Watched | undefined;
  let isLooking = false;
  let isClosed = false;

  function take(lines: readonly (string | undefined)[]): void {
    for (const line of lines) {
      const request = line === undefined ? undefined : parseRequest(line);
      if (request === undefined) {
        watched?.trouble("a request that isn't one of PyTorch's clients is ignored");
        continue;
      }
      // Whose timer ends needs no proof, and that takes a moment.
      const which = request.expiresAtMs < 0 ? undefined : whichOf(request.pid);
      if (!table.take(request, which))
        watched?.trouble(`no room for a timer of process ${request.pid}: too many run`);
    }
    sleep();
  }

  /** What tells, when the timer expires, that it's the same process still. */
  function whichOf(pid: number): Which {
    const isWorker = watched?.has(pid) === true;
    const known = table.which(pid);
    if (isWorker && typeof known !== 'number') return 'worker';
    const began = (hasProc ? startedAt(pid) : undefined) ?? 'unknown';
    // A worker that was heard before its round was watched stays what it was.
    return isWorker && began !== known ? 'worker' : began;
  }

  function sleep(): void {
    clearTimeout(timer);
    const nextAtMs = table.nextAtMs();
    if (nextAtMs === undefined || isLooking || isClosed) return;
    const inMs = Math.min(Math.max(nextAtMs - Date.now(), minSleepMs), maxSleepMs);
    timer = setTimeout(() => void look(), inMs).unref(); // never rejects
  }

  async function look(): Promise<void> {
    isLooking = true;
    // What expires while no round runs undisturbed is of workers that are being ended already.
    const due = table.due(Date.now());
    await watched?.onDue(due);
    isLooking = false;
    sleep();
  }

  const pipe: TimerPipe = await openTimerPipe(path, take);
  return {
    watch(round) {
      // Workers of the one before have no numbers any more.
      if (watched !== undefined) table.clear();
      const own = watchRound(round, dumping);
      watched = own;
      return {
        ended: own.ended,
        close() {
          own.close();
          if (watched !== own) return;
          watched = undefined;
          table.clear();
        },
      };
    },
    close() {
      isClosed = true;
      clearTimeout(timer);
      return pipe.close();
    },
  };
}

interface Watched extends HangGuard {
  has(pid: number): boolean;
  /** Resolves when the owner of each is known. Never rejects. */
  onDue(expired: readonly Expired[]): Promise<void>;
  trouble(reason: string): void;
}

function watchRound(
  round: TimedRound,
  dumping: Pick<HangOptions, 'dumpMs' | 'dumpSignal'>,
): Watched {
  const closing = new AbortController();
  const { signal: closed } = closing;
  const ended = new Set<number>();
  const told = new Set<string>();
  let dumped: Promise<void> | undefined;
  const toldOf = new Map<number, Set<string>>();
  /** Signals that wait for stacks, each with its worker. */
  const pending = new Set<string>();

  const living = (): WorkerIdentity[] =>
    round.workers.filter(({ localRank }) => !ended.has(localRank));
  const withPid = (pid: number) => living().find(worker => worker.pid === pid);
  const tell = (event: AgentEvent): void => {
    if (!closed.aborted) round.tell(event);
  };

  function trouble(reason: string): void {
    // A process that writes nonsense may write much of it.
    const kind = reason.replace(/\d+/, '');
    if (told.has(kind)) return;
    told.add(kind);
    tell({ event: 'timers-trouble', reason, atMs: round.nowMs() });
  }

  /** @returns whether it's the first time, of not too many */
  function isNew({ localRank }: WorkerIdentity, scope: string): boolean {
    const scopes = toldOf.get(localRank) ?? new Set();
    toldOf.set(localRank, scopes);
    if (scopes.has(scope) || scopes.size >= maxToldOfOne) return false;
    scopes.add(scope);
    return true;
  }

  async function expire({ pid, which, scope, signal }: Expired): Promise<void> {
    const worker = which === 'worker' ? withPid(pid) : await workerOf(pid, which);
    if (worker === undefined || closed.aborted) return;
    const isFirst = isNew(worker, scope);
    if (isFirst) tellExpired(worker, scope, signal);
    // The next ones are looked up meanwhile.
    if (signal !== undefined) void endWithStacks(worker, signal, isFirst); // never rejects: what it awaits doesn't
  }

  /** The worker that a process is, or that has started it; tells why there's none. */
  async function workerOf(
    pid: number,
    began: number | 'unknown',
  ): Promise<WorkerIdentity | undefined> {
    const owner =
      began === 'unknown'
        ? ({ is: isAlive(pid) ? 'nobody' : 'gone' } as const)
        : await ownerOf(pid, began, each => withPid(each) !== undefined);
    switch (owner.is) {
      case 'found':
        return withPid(owner.pid);
      case 'nobody':
        trouble(`a timer of process ${pid} is ignored: no worker has started it`);
        return undefined;
      case 'another':
        trouble(`a timer of process ${pid} is ignored: that has ended, and its pid is another's`);
        return undefined;
      case 'gone':
        return undefined;
    }
  }

  function tellExpired(worker: WorkerIdentity, scope: string, signal: number | undefined): void {
    const name = signal === undefined ? undefined : (signalName(signal) ?? `SIG${signal}`);
    const wants = name === undefined ? {} : { signal: name };
    tell({ event: 'timer-expired', worker, scope, ...wants, atMs: round.nowMs() });
  }

  async function endWithStacks(
    worker: WorkerIdentity,
    signal: number,
    isFirst: boolean,
  ): Promise<void> {
    const key = `${worker.localRank} ${signal}`;
    if (pending.has(key)) return;
    pending.add(key);
    // Those of all: whoever waits in vain waits for another.
    if (isFirst)
      dumped ??= dump().finally(() => {
        dumped = undefined;
      });
    await dumped;
    pending.delete(key);
    if (!closed.aborted) round.signal(worker.localRank, signal);
  }

  async function dump(): Promise<void> {
    const taken = await round
      .asGuests(() => dumpRound(round, living(), dumping, closed))
      .catch((): undefined => undefined); // a worker is ended without its stacks, too
    if (taken === undefined) return;
    const { files, summary, hasPySpy, hasFrames } = taken;
    const lacksPySpy = !hasPySpy && !hasFrames;
    tell({ event: 'dumped', files, summary, lacksPySpy, atMs: round.nowMs() });
  }

  return {
    has: pid => withPid(pid) !== undefined,
    ended: localRank => void ended.add(localRank),
    async onDue(expired) {
      const isOwn = ({ pid }: Expired): boolean => withPid(pid) !== undefined;
      // Workers first, since the owners of others are looked up, one after the other.
      for (const each of [...expired.filter(isOwn), ...expired.filter(each => !isOwn(each))]) {
        if (closed.aborted) return;
        await expire(each);
      }
    },
    trouble,
    close: () => closing.abort(),
  };
}
