import type { DeviceSource } from '../nproc.js';
import type { Gpu } from './visible.js';

const folder = '/proc/driver/nvidia/gpus';

/**
 * NVIDIA's GPUs in PCI order, by plain reads: no library, and nothing that hangs on a sick GPU. A
 * container sees all of them here and has device files of its own only.
 *
 * @source NVIDIA driver README, /proc/driver/nvidia/gpus/<domain:bus:device.function>/information
 */
export function nvidiaGpus(source: DeviceSource): readonly Gpu[] {
  const granted = new Set(source.list('/dev').filter(name => /^nvidia\d+$/.test(name)));
  return [...source.list(folder)].sort().flatMap(address => {
    const information = source.read(`${folder}/${address}/information`) ?? '';
    const minor = /^Device Minor:\s*(\d+)/m.exec(information)?.[1];
    if (minor !== undefined && !granted.has(`nvidia${minor}`)) return [];
    const uuid = /^GPU UUID:\s*(\S+)/m.exec(information)?.[1] ?? '';
    return [{ uuid, pci: address.toLowerCase() }];
  });
}
