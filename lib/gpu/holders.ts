import { readFile, stat } from 'node:fs/promises';
import type { GpuHolder } from '../events.js';
import { native } from '../native/addon.js';
import { needPool } from '../system/pool.js';
import { procStatIn } from '../system/proc-stat.js';
import { hasNvidiaDevices, realDeviceFolder } from './devices.js';

/** Who holds the node's GPUs, and which of them are a round's own. */

/** How a round's processes are known. */
export interface RoundProcesses {
  /** Pids of the workers, who lead sessions of their own. */
  readonly pids: readonly number[];
  /** `REGROUP_COOKIE` in the environment of whatever they have started. */
  readonly cookie: string;
}

interface Found {
  readonly devices: Set<string>;
  usedBytes?: number;
}

/**
 * By the open files of all processes, and by NVIDIA's driver, which may know a process for a while that
 * has ended. Of the driver's numbers only those count that we know otherwise: within a container they are
 * another namespace's.
 *
 * @param timeoutMs what isn't known by then is left away; for each of both
 */
export async function findGpuHolders(
  round: RoundProcesses,
  timeoutMs: number,
): Promise<GpuHolder[]> {
  const addon = native();
  const [open, driver] = await Promise.all([
    addon.deviceHolders(realDeviceFolder(), timeoutMs),
    hasNvidiaDevices() ? addon.gpus(timeoutMs) : { devices: [] },
  ]);
  const found = new Map<number, Found>();
  for (const { pid, devices } of open.holders) found.set(pid, { devices: new Set(devices) });
  for (const { index, minor = index, processes, instances } of driver.devices) {
    const users = [...processes, ...instances.flatMap(instance => instance.processes)];
    for (const { pid, usedBytes } of users) {
      const holder = found.get(pid) ?? { devices: new Set<string>() };
      if (!found.has(pid) && !round.pids.includes(pid)) continue;
      found.set(pid, holder);
      holder.devices.add(`nvidia${minor}`);
      if (usedBytes !== undefined) holder.usedBytes = (holder.usedBytes ?? 0) + usedBytes;
    }
  }
  const holders = await Promise.all(
    [...found].map(async ([pid, { devices, usedBytes }]) => ({
      pid,
      ...(await describe(pid)),
      devices: [...devices].sort(),
      ...(usedBytes === undefined ? {} : { usedBytes }),
      isOurs: await belongsTo(round, pid),
    })),
  );
  return holders.sort((one, other) => one.pid - other.pid);
}

async function describe(pid: number): Promise<Pick<GpuHolder, 'command' | 'uid'>> {
  try {
    needPool();
    const [comm, { uid }] = await Promise.all([
      readFile(`/proc/${pid}/comm`, 'utf8'),
      stat(`/proc/${pid}`),
    ]);
    return { command: comm.trimEnd(), uid };
  } catch {
    return {}; // gone meanwhile, or there's no thread to look by
  }
}

async function belongsTo({ pids, cookie }: RoundProcesses, pid: number): Promise<boolean> {
  if (pids.includes(pid)) return true;
  const stat = procStatIn(await textOf(pid, 'stat'));
  if (stat === undefined) return false;
  if (pids.includes(stat.session)) return true;
  // Reading the environment of one that's stuck in the kernel can get us stuck as well.
  if (stat.state === 'D') return false;
  return (await textOf(pid, 'environ')).split('\0').includes(`REGROUP_COOKIE=${cookie}`);
}

/** Text of a process's file; empty where it's gone, or where we may not or can't look. */
async function textOf(pid: number, file: string): Promise<string> {
  try {
    needPool();
    return await readFile(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return '';
  }
}
