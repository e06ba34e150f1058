import type { AgentEvent } from '../../events.js';
import { localTime } from '../../system/local-time.js';
import type { logLevels } from '../line/settings.js';

/** What torchrun says itself, word for word, since people and scrapers know it. */

/** @source pytorch v2.13.0, torch/distributed/run.py, config_from_args */
export const ompWarning =
  '\n*****************************************\n' +
  'Setting OMP_NUM_THREADS environment variable for each process to be 1 in default, to avoid ' +
  'your system being overloaded, please further tune the variable for optimal performance in ' +
  'your application as needed. \n' +
  '*****************************************';

/**
 * Lines in the shape of torchrun's logger, which is glog's: level, date, time, pid, source.
 * The source is our name, for nobody could look up a line number.
 *
 * @source pytorch v2.13.0, torch/_logging/_internal.py, TorchLogsFormatter
 */
export function logLines(
  level: keyof typeof logLevels,
  text: string,
  now: Date,
  pid: number,
): string {
  const { month, day, clock } = localTime(now.getTime());
  const micros = `${String(now.getMilliseconds()).padStart(3, '0')}000`;
  const prefix = `${level[0]}${month}${day} ${clock}.${micros} ${pid} regroup] `;
  return text
    .split('\n')
    .map(line => `${prefix}${line}\n`)
    .join('');
}

/** @source pytorch v2.13.0, torch/distributed/elastic/agent/server/api.py, _rendezvous */
export function rendezvousResult(
  event: Extract<AgentEvent, { event: 'round-started' }>,
  role: string,
): string {
  const { workers } = event;
  const list = (numbers: readonly number[]) => `[${numbers.join(', ')}]`;
  const ranks = list(workers.map(worker => worker.rank));
  const sizes = list(workers.map(() => event.worldSize));
  return [
    `[${role}] Rendezvous complete for workers. Result:`,
    `  restart_count=${event.restartCount}`,
    `  master_addr=${event.masterAddr}`,
    `  master_port=${event.masterPort}`,
    `  group_rank=${event.groupRank}`,
    `  group_world_size=${event.groupWorldSize}`,
    `  local_ranks=${list(workers.map(worker => worker.localRank))}`,
    `  role_ranks=${ranks}`,
    `  global_ranks=${ranks}`,
    `  role_world_sizes=${sizes}`,
    `  global_world_sizes=${sizes}`,
    '  event_log_handler=null',
    '',
  ].join('\n');
}

/** @source pytorch v2.13.0, torch/distributed/launcher/api.py, launch_agent */
export function launchBanner(entries: readonly (readonly [name: string, value: string])[]): string {
  const lines = entries.map(([name, value]) => `  ${name.padEnd(24)} : ${value}`);
  return ['Starting elastic_operator with launch configs:', ...lines, ''].join('\n');
}
