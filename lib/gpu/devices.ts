import { readdirSync, realpathSync } from 'node:fs';

/** Where GPUs' device files are. Tests have a folder of their own. */
export function deviceFolder(): string {
  return process.env.REGROUP_GPU_DEVICES ?? '/dev';
}

/** Folder of the GPUs' device files without links in its path, as the kernel tells what a process has open. */
export function realDeviceFolder(): string {
  try {
    return realpathSync(deviceFolder());
  } catch {
    return deviceFolder(); // not there: nobody holds anything in it
  }
}

/** Whether there's a GPU's device file: NVIDIA's, AMD's, or any that computes by DRM. */
export function hasGpuDevices(): boolean {
  return (
    entriesOf(deviceFolder()).some(name => /^(nvidia\d+|kfd)$/.test(name)) ||
    entriesOf(`${deviceFolder()}/dri`).some(name => /^renderD\d+$/.test(name))
  );
}

export function hasNvidiaDevices(): boolean {
  return entriesOf(deviceFolder()).some(name => /^nvidia\d+$/.test(name));
}

function entriesOf(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // not there: no such device
  }
}
