import type { RunEnding } from '../../events/recorder.js';
import type { AgentEvent, RunResult, WorkerFailure } from '../../events.js';
import { signalNumber } from '../../util/signals.js';
import { pythonJson } from './python-json.js';

/**
 * What torchrun's event handlers are given: its names, its fields, its order, and Python's JSON.
 *
 * @source pytorch v2.13.0, torch/distributed/elastic/agent/server/api.py, _construct_event and _record_worker_events;
 *   torch/distributed/launcher/api.py, launch_agent
 */
export interface TorchrunEvents {
  /** The lines that an event gives, without line breaks. */
  onEvent(event: AgentEvent): readonly string[];
  /**
   * The lines of a run's end.
   *
   * @param errorTexts what the workers' error files have, by global rank
   */
  onEnd(
    ending: RunEnding,
    totalMs: number,
    errorTexts: ReadonlyMap<number, string>,
  ): readonly string[];
}

/** What each of them says of the job. */
export interface TorchrunJob {
  readonly runId: string;
  readonly role: string;
  /** Fully qualified, where that's known. */
  readonly hostname: string;
  readonly backend: string;
  /** Name of the workers' file, without its folder; of a function, the function's. */
  readonly entryPoint: string;
  /** Our own. */
  readonly pid: number;
}

type RoundStarted = Extract<AgentEvent, { event: 'round-started' }>;

type Source = 'AGENT' | 'WORKER';

interface Told {
  readonly rank?: number;
  readonly localRank?: number;
  readonly pid?: number;
  readonly rawError?: string | null;
  readonly durationMs?: number;
  /** Of a worker that has failed. */
  readonly exitCode?: number;
}

/** Seconds in the last lines are whole. */
const second = 1000;
/** What Python knows as a float. */
const floats = ['duration_ms'];

export function torchrunEvents(job: TorchrunJob): TorchrunEvents {
  let round: RoundStarted | undefined;
  let restarts = 0;
  let totalSeconds = 0;
  /**
   * torchrun's failures without an error file share one object, which the first of them to have ended with a code changes
   * for all.
   */
  let isMarked = false;

  function line(state: string, source: Source, told: Told = {}): string {
    const { rank, localRank, pid, rawError = null, durationMs = null, exitCode } = told;
    const inner = {
      group_world_size: round?.groupWorldSize ?? null,
      entry_point: job.entryPoint,
      ...(rank === undefined
        ? {}
        : {
            local_rank: [localRank],
            role_rank: [rank],
            role_world_size: [round?.worldSize ?? null],
            exit_code: [exitCode ?? null],
            worker_pid: [exitCode === undefined ? null : pid],
          }),
    };
    const metadata = {
      run_id: job.runId,
      global_rank: rank ?? null,
      group_rank: round?.groupRank ?? null,
      worker_id: pid === undefined ? null : String(pid),
      role: job.role,
      hostname: job.hostname,
      state,
      total_run_time: totalSeconds,
      rdzv_backend: job.backend,
      raw_error: rawError,
      metadata: pythonJson(inner),
      agent_restarts: restarts,
      duration_ms: durationMs,
    };
    const name = `torchelastic.worker.status.${state}`;
    return pythonJson({ name, source, timestamp: 0, metadata }, floats);
  }

  function markedBy(failures: readonly WorkerFailure[]): void {
    isMarked ||= failures.some(
      ({ node, errorFile, exitcode }) =>
        node === undefined && errorFile === undefined && exitcode >= 0,
    );
  }

  function rawError({ errorFile }: WorkerFailure, text: string | undefined): string {
    if (errorFile === undefined || text === undefined) {
      const traits = { category: 'system_terminated_error', retryability: 'False' };
      return pythonJson({ message: '<NONE>', ...(isMarked ? { errorTraits: traits } : {}) });
    }
    try {
      return pythonJson(JSON.parse(text));
    } catch {
      // torchrun ends itself there.
      return pythonJson({ message: text });
    }
  }

  function workersAt(result: RunResult, errorTexts: ReadonlyMap<number, string>): string[] {
    const { workers = [] } = round ?? {};
    const failures = 'failures' in result ? result.failures : [];
    markedBy(failures);
    return workers.map(worker => {
      if (result.outcome === 'succeeded') return line('SUCCEEDED', 'WORKER', worker);
      const failure = failures.find(each => each.node === undefined && each.rank === worker.rank);
      if (failure === undefined) return line('TERMINATED', 'WORKER', worker);
      return line('FAILED', 'WORKER', {
        ...worker,
        rawError: rawError(failure, errorTexts.get(worker.rank)),
        exitCode: failure.exitcode,
      });
    });
  }

  return {
    onEvent(event) {
      if (event.event === 'restarting') markedBy(event.failures);
      if (event.event !== 'round-started') return [];
      restarts = event.restartCount;
      // Of the rendezvous they tell where this node was before.
      const met = [
        line('RENDEZVOUS', 'AGENT', { durationMs: event.rendezvousMs }),
        // The ranks came with it.
        line('ASSIGN_WORKER_RANKS', 'AGENT', { durationMs: 0 }),
      ];
      round = event;
      return [...met, ...event.workers.map(worker => line('START', 'WORKER', worker))];
    },
    onEnd(ending, totalMs, errorTexts) {
      totalSeconds = Math.floor(totalMs / second);
      if ('error' in ending) {
        return [line('FAILED', 'AGENT', { rawError: `${shownError(ending.error)}\n` })];
      }
      const { result } = ending;
      if (result.outcome === 'stopped') {
        const number = signalNumber(result.signal) ?? 0;
        return [
          line('FAILED', 'AGENT', {
            rawError: `${signalException}${job.pid} got signal: ${number}\n`,
          }),
        ];
      }
      // It has done its job, whatever became of the workers.
      return [...workersAt(result, errorTexts), line('SUCCEEDED', 'AGENT')];
    },
  };
}

/** What was thrown may be anything. */
function shownError(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : `Error: ${String(error)}`;
}

/** The last line of what torchrun has as a traceback. */
const signalException = 'torch.distributed.elastic.multiprocessing.api.SignalException: Process ';
