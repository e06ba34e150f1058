import { launchError } from '../errors.js';
import type { RunEnding } from '../events/recorder.js';
import type { AgentEvent, RunResult } from '../events.js';
import { passOnErrorFile } from '../failures/own-error-file.js';
import { recordsInLogs } from '../options/observe/events.js';
import { deferred } from '../util/deferred.js';
import { unreachable } from '../util/unreachable.js';
import type { Job } from '../workers/job.js';
import { hasUsageLimits } from '../workers/limits.js';
import { type Core, killAtOnceMs } from './core.js';
import type { Restarts } from './restarts/restarts.js';
import type { Rounds } from './rounds.js';
import type { Ending } from './step/state.js';

/** How a run ends: what its caller gets, the outer launcher's error file, and what's taken down. */
export interface RunEnd {
  readonly result: Promise<RunResult>;
  /** Whatever goes wrong meanwhile becomes the result. A second call changes nothing. */
  finish(ending: Ending): void;
}

/** What an end takes down, and whom it tells. */
export interface EndSurroundings {
  readonly rounds: Rounds;
  readonly restarts: Restarts;
  /** The addon's threads; absent as long as they haven't been started. */
  core(): Core | undefined;
  tell(event: AgentEvent): void;
  nowMs(): number;
  /** Records how the run has ended; absent: nobody keeps a record. Never rejects. */
  readonly record: ((ending: RunEnding) => Promise<void>) | undefined;
  /** Ends this node's part in the job; absent: it has no other nodes. */
  leave(): Promise<void> | undefined;
  /** Ends what the agent itself has under way; resolves when nothing of it is left. */
  close(): Promise<unknown>;
}

export function createRunEnd(job: Job, around: EndSurroundings): RunEnd {
  const { settings } = job;
  const { rounds, restarts, core, tell, nowMs, close, leave, record } = around;
  const result = deferred<RunResult>();
  let isFinished = false;

  async function finishFailed({
    round,
    ...failed
  }: Extract<Ending, { outcome: 'failed' }>): Promise<void> {
    const [rootCause] = failed.failures;
    if (rootCause === undefined)
      throw launchError('ERR_INTERNAL', ['a run failed without a failure']);
    const { errorText } = rounds.get(round) ?? {};
    // The text is of this node's first failure.
    const own = failed.failures.find(({ node }) => node === undefined);
    if (settings.errorFile !== undefined && errorText !== undefined && own !== undefined) {
      // As in torchrun the run's result doesn't hang on it.
      const reason = await passOnErrorFile(errorText, own.exitcode, settings.errorFile);
      if (reason !== undefined) tell({ event: 'error-file-trouble', reason, atMs: nowMs() });
    }
    end({ ...failed, rootCause });
  }

  function end(ended: RunResult): void {
    const summary = restarts.summary();
    const outcome = summary === undefined ? ended : { ...ended, restarts: summary };
    if (summary !== undefined) tell({ event: 'restart-summary', ...summary, atMs: nowMs() });
    tell({ event: 'ended', outcome: outcome.outcome, atMs: nowMs() });
    // The report names them.
    const keepErrorFiles =
      'failures' in outcome &&
      outcome.failures.some(
        each => each.node === undefined && (each.errorFile !== undefined || each.cause === 'hang'),
      );
    const down = (): void => {
      tearDown({ result: outcome }, { keepErrorFiles }).then(
        () => result.resolve(outcome),
        result.reject,
      );
    };
    const shown = core()?.outputShown();
    if (shown === undefined) down();
    else void shown.then(down);
  }

  function giveUp(error: unknown): void {
    // If it's a mistake of ours there may be workers still, and whoever hears of it may end at once.
    core()?.supervisor.killAll(killAtOnceMs);
    const reject = (): void => result.reject(error);
    tearDown({ error }, { keepErrorFiles: false }).then(reject, reject);
  }

  /** Resolves when nothing is left that somebody would see: who hears of the run's end may end at once. */
  async function tearDown(
    ending: RunEnding,
    { keepErrorFiles }: { readonly keepErrorFiles: boolean },
  ): Promise<void> {
    for (const { hangs } of rounds.all()) hangs?.close();
    // Before the core: others may need what it serves.
    const leaving = leave();
    if (leaving !== undefined) await leaving;
    // Before the error files are gone, and while trouble with it can be told.
    await record?.(ending).catch(() => {}); // whatever becomes of the record, the core is closed
    const closing = close();
    const coreClosing = core()?.close();
    await Promise.all([
      closing,
      rounds.close(job.redirected || keepErrorFiles || recordsInLogs(settings)),
      // Limits may have moved us into another cgroup, and standbys are there to the last. Otherwise the end needn't wait for threads.
      hasUsageLimits(settings) || settings.standby !== 'off' ? coreClosing : undefined,
    ]);
  }

  return {
    result: result.promise,
    finish(ending) {
      if (isFinished) return;
      isFinished = true;
      switch (ending.outcome) {
        case 'error':
          giveUp(ending.error);
          return;
        case 'succeeded':
        case 'stopped':
        case 'preempted':
          end(ending);
          return;
        case 'failed':
          finishFailed(ending).catch(giveUp);
          return;
        default:
          unreachable(ending);
      }
    },
  };
}
