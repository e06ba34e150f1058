import type { RunStatus, WorkerStatus } from '../../control/words.js';
import { fileOf } from '../../logs/streams.js';
import { hostname } from '../../system/hostname.js';
import type { Job } from '../../workers/job.js';
import type { RoundRecord } from '../rounds.js';
import type { AgentState } from '../step/state.js';

/** What the agent knows of its run, for whoever asks. */

/** What a status is made of. */
export interface Known {
  readonly state: AgentState;
  /** Of the round that `state` is about, or of the last one that has started. */
  readonly record: RoundRecord | undefined;
  /** Since the run began. */
  readonly ranMs: number;
  readonly restartsLeft: number | undefined;
  readonly logFolder: string | undefined;
}

export function statusOf(job: Job, known: Known, nowMs: number): RunStatus {
  const { state, record, ranMs, restartsLeft, logFolder } = known;
  const { maxRestarts } = job.settings;
  const place = 'place' in state ? state.place : record?.place;
  return {
    runId: job.runId,
    name: job.command.name,
    host: hostname(),
    pid: process.pid,
    ranMs,
    phase: state.phase,
    ...('round' in state ? { round: state.round } : {}),
    ...(record === undefined ? {} : { restartCount: record.restartCount }),
    // JSON has no infinity.
    ...(Number.isFinite(restartsLeft ?? maxRestarts)
      ? { restartsLeft: restartsLeft ?? maxRestarts }
      : {}),
    maxRestarts,
    ...(place === undefined
      ? {}
      : {
          groupRank: place.groupRank,
          nodes: place.groupWorldSize,
          worldSize: place.worldSize,
        }),
    workers: workersOf(state, record, nowMs),
    ...(logFolder === undefined ? {} : { logFolder }),
  };
}

function workersOf(
  state: AgentState,
  record: RoundRecord | undefined,
  nowMs: number,
): readonly WorkerStatus[] {
  if (!('workers' in state)) return [];
  const gone = new Set(
    state.exits.flatMap(({ worker, isGone }) => (isGone ? [worker.localRank] : [])),
  );
  return state.workers.map(({ identity, startedAtMs }): WorkerStatus => {
    const plan = record?.plan.plans[identity.localRank];
    const stdout = fileOf(plan?.stdout);
    const stderr = fileOf(plan?.stderr);
    return {
      ...identity,
      state: gone.has(identity.localRank) ? 'ended' : 'running',
      ranMs: nowMs - startedAtMs,
      ...(stdout === undefined ? {} : { stdout }),
      ...(stderr === undefined ? {} : { stderr }),
    };
  });
}
