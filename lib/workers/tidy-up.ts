import { realDeviceFolder } from '../gpu/devices.js';
import type { NativeTidyUp } from '../native/plan.js';
import type { Settings } from '../options/launch-options.js';

/**
 * torch's file_system sharing: it unlinks what it holds when it has had no client for two seconds.
 *
 * @source pytorch v2.13.0, torch/lib/libshm/manager.cpp, main
 */
const lingering = ['torch_shm_manager'];

/** What the core needs of the options. */
export function tidyUpOf({ tidyGraceMs, leaveDetached }: Settings): NativeTidyUp {
  return { graceMs: tidyGraceMs, leaveDetached, lingering, devices: realDeviceFolder() };
}
