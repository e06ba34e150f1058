import type { LaunchOptions } from '../../options/launch-options.js';
import { control } from './control/control.js';
import { failures } from './failures.js';
import { hang } from './hangs.js';
import { hooks } from './hooks.js';
import { gpus } from './machine/gpus.js';
import { limits } from './machine/limits.js';
import { placement } from './machine/placement.js';
import { nodes } from './nodes.js';
import { events } from './observe/events.js';
import { metrics } from './observe/metrics.js';
import { preemption } from './preemption.js';
import type { Env, Feature, Values } from './spec.js';
import { standby } from './standby.js';
import { stopping } from './stopping.js';
import { store } from './store.js';
import { tidyUp } from './tidy-up.js';

/** Our own options' subjects, in the order of the help. */
export const features: readonly Feature[] = [
  placement,
  limits,
  failures,
  hang,
  stopping,
  tidyUp,
  preemption,
  hooks,
  standby,
  events,
  metrics,
  gpus,
  nodes,
  store,
  control,
];

/** @throws CommandLineError */
export function readFeatures(values: Values, env: Env): Partial<LaunchOptions> {
  return Object.assign({}, ...features.map(feature => feature.read(values, env)));
}
