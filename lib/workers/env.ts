import { launchError } from '../errors.js';
import type { Place } from '../rendezvous/rendezvous.js';
import { sharedStoreEnv } from '../store/shared.js';
import type { ReturnGate } from './return-gate.js';

/** The numbers of one round that its workers are told. Valid within this round only. */
export interface Round extends Place {
  readonly round: number;
  /** Failures so far, which is what TORCHELASTIC_RESTART_COUNT says. */
  readonly restartCount: number;
  readonly maxRestarts: number;
  readonly runId: string;
  readonly role: string;
  readonly localWorldSize: number;
  readonly firstRoleRank: number;
  readonly roleWorldSize: number;
  readonly masterAddr: string;
  readonly masterPort: number;
  /** Whether we serve the store there; else rank 0 does. */
  readonly agentStore: boolean;
  /** The socket that gives the store's shared memory, if it offers any. */
  readonly local: string | undefined;
  /** Found in the environment of whatever this round left behind. */
  readonly cookie: string;
  /** Where function workers wait for each other; absent for all others. */
  readonly gate?: ReturnGate | undefined;
}

export type Env = Readonly<Record<string, string | undefined>>;

/**
 * The variables that one worker gets on top of those that it inherits.
 *
 * @param inherited the launcher's environment
 * @param errorFile absent where logging is off: the variable is then empty, as torchrun's
 * @source pytorch v2.13.0, torch/distributed/elastic/agent/server/local_elastic_agent.py, _start_workers
 * @throws ERR_VISIBLE_DEVICES
 */
export function workerEnv(
  round: Round,
  localRank: number,
  options: {
    readonly inherited: Env;
    readonly errorFile?: string | undefined;
    readonly virtualLocalRank: boolean;
    /** The pipe at which its timers are served. */
    readonly timerFile?: string | undefined;
    /** What its placement adds. */
    readonly placed?: Readonly<Record<string, string>> | undefined;
  },
): Record<string, string> {
  const { inherited, errorFile = '', virtualLocalRank, timerFile, placed = {} } = options;
  const omp = ompDefault(inherited, round.localWorldSize);
  return {
    LOCAL_RANK: String(virtualLocalRank ? 0 : localRank),
    RANK: String(round.firstRank + localRank),
    GROUP_RANK: String(round.groupRank),
    ROLE_RANK: String(round.firstRoleRank + localRank),
    ROLE_NAME: round.role,
    LOCAL_WORLD_SIZE: String(round.localWorldSize),
    WORLD_SIZE: String(round.worldSize),
    GROUP_WORLD_SIZE: String(round.groupWorldSize),
    ROLE_WORLD_SIZE: String(round.roleWorldSize),
    MASTER_ADDR: round.masterAddr,
    MASTER_PORT: String(round.masterPort),
    TORCHELASTIC_RESTART_COUNT: String(round.restartCount),
    TORCHELASTIC_MAX_RESTARTS: String(round.maxRestarts),
    TORCHELASTIC_RUN_ID: round.runId,
    // Compared literally by env:// init. True: every rank joins our store and none binds the port.
    TORCHELASTIC_USE_AGENT_STORE: round.agentStore ? 'True' : 'False',
    TORCHELASTIC_SIGNALS_TO_HANDLE:
      inherited.TORCHELASTIC_SIGNALS_TO_HANDLE ?? 'SIGTERM,SIGINT,SIGHUP,SIGQUIT',
    TORCH_NCCL_ASYNC_ERROR_HANDLING: inherited.TORCH_NCCL_ASYNC_ERROR_HANDLING ?? '1',
    TORCHELASTIC_ERROR_FILE: errorFile,
    ...(timerFile === undefined ? {} : { TORCHELASTIC_TIMER_FILE: timerFile }),
    ...(omp === undefined ? {} : { OMP_NUM_THREADS: omp }),
    ...(virtualLocalRank
      ? { CUDA_VISIBLE_DEVICES: visibleDevice(inherited.CUDA_VISIBLE_DEVICES, localRank) }
      : {}),
    ...placed,
    REGROUP_COOKIE: round.cookie,
    REGROUP_ROUND: String(round.round),
    ...(round.gate === undefined ? {} : { REGROUP_RETURN: round.gate.addressOf(localRank) }),
    ...sharedStoreEnv(round.local),
  };
}

/**
 * The value that OMP_NUM_THREADS gets because nobody set it: 1 where a node has several workers,
 * so that they don't fight for its cores. A variable that's set to nothing is set.
 */
export function ompDefault(inherited: Env, localWorldSize: number): string | undefined {
  return inherited.OMP_NUM_THREADS === undefined && localWorldSize > 1 ? '1' : undefined;
}

/** The one device that a worker with a virtual local rank sees. @throws ERR_VISIBLE_DEVICES */
function visibleDevice(visible: string | undefined, localRank: number): string {
  if (visible === undefined) return String(localRank);

  const device = visible.split(',')[localRank];
  if (device === undefined)
    throw launchError('ERR_VISIBLE_DEVICES', [localRank, `CUDA_VISIBLE_DEVICES=${visible}`]);
  return device.trim();
}

/** Variable that's about the process that bears it, and so not for a worker and all that it starts. */
const leaveName = 'REGROUP_LEAVE';

/** `NAME=value` of what's inherited, save for the names that each worker gets values of its own for. */
export function inheritedEntries(inherited: Env, own: Readonly<Record<string, string>>): string[] {
  const entries: string[] = [];
  for (const name in inherited) {
    const value = inherited[name];
    if (value !== undefined && name !== leaveName && !Object.hasOwn(own, name))
      entries.push(`${name}=${value}`);
  }
  return entries;
}
