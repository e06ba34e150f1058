import { failurePolicyOf } from '../failure-options.js';
import { hookCommand, hookNames } from '../options/hooks.js';
import type { Settings } from '../options.js';
import type { Policy } from './state.js';

/** What `step` needs of the options. */
export function policyOf(settings: Settings): Policy {
  const { preemptSignal, preemptLimitMs } = settings;
  return {
    failures: failurePolicyOf(settings),
    graceMs: settings.shutdownTimeoutMs,
    graceByReasonMs: settings.graceMs,
    ...(preemptSignal === undefined ? {} : { preemptSignal }),
    ...(preemptLimitMs === undefined ? {} : { preemptLimitMs }),
    hooks: hookNames.filter(name => hookCommand(settings.hooks, name) !== undefined),
  };
}
