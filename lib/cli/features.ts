import type { LaunchOptions } from '../options/launch-options.js';
import { failures } from './features/failures.js';
import { gpus } from './features/gpus.js';
import { grace } from './features/grace.js';
import { hang } from './features/hang.js';
import { hooks } from './features/hooks.js';
import { limits } from './features/limits.js';
import { placement } from './features/placement.js';
import { preemption } from './features/preemption.js';
import { signalTarget } from './features/signal-target.js';
import { store } from './features/store.js';
import { tidyUp } from './features/tidy-up.js';
import type { OptionSpec } from './option-spec.js';
import type { Env, Values } from './values.js';

/** Options of ours that belong together: what people may say, and what it means for `launch`. */
export interface Feature {
  readonly options: readonly OptionSpec[];
  /** Absent options are left away, so that the defaults stand in one place. @throws CommandLineError */
  read(values: Values, env: Env): Partial<LaunchOptions>;
}

/** In the order of the help. */
export const features: readonly Feature[] = [
  placement,
  limits,
  failures,
  hang,
  signalTarget,
  grace,
  tidyUp,
  preemption,
  hooks,
  gpus,
  store,
];

/** @throws CommandLineError */
export function readFeatures(values: Values, env: Env): Partial<LaunchOptions> {
  return Object.assign({}, ...features.map(feature => feature.read(values, env)));
}
