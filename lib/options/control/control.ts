import { type Check, isWhole, oneOf } from '../checks.js';

/** By what others look at a run, and give it orders. */
export interface ControlOptions {
  /**
   * A Unix socket for this user's `regroup ps`, `stop` and so on. `on`: from the first workers' start; `auto`: a second later, so that
   * it takes no time from it, and without a word, also where it can't be had. @default 'off'; the command's is 'auto'
   */
  readonly control?: 'on' | 'auto' | 'off';
  /** Port of every address where HTTP asks whether the agent is alive and its workers run; 0: a free one. @default none */
  readonly healthPort?: number;
}

export const controlDefaults = { control: 'off' } as const;

export const controlChecks: Readonly<Record<keyof ControlOptions, Check>> = {
  control: oneOf('on', 'auto', 'off'),
  healthPort: [value => isWhole(value, 0, 65_535), 'a port from 0 to 65535'],
};
