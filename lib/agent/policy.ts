import { hasGpuDevices } from '../gpu/devices.js';
import { hookCommand, hookNames } from '../options/hooks.js';
import type { Settings } from '../options/launch-options.js';
import type { Policy } from './step/state.js';

/** What `step` needs of the options. */
export function policyOf(settings: Settings): Policy {
  const { preemptSignal, preemptLimitMs } = settings;
  return {
    graceMs: settings.shutdownTimeoutMs,
    graceByReasonMs: settings.graceMs,
    ...(preemptSignal === undefined ? {} : { preemptSignal }),
    ...(preemptLimitMs === undefined ? {} : { preemptLimitMs }),
    watchesForHangs: settings.hang !== undefined || settings.fileTimers !== undefined,
    waitsForGpus: settings.gpuWaitMs > 0 && hasGpuDevices(),
    hooks: hookNames.filter(name => hookCommand(settings.hooks, name) !== undefined),
  };
}
