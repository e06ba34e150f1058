import { type Check, oneOf } from './checks.js';

/** Whom a stop signal goes to. */
export interface SignalTargetOptions {
  /** Who gets the stop signal: the worker alone, or its whole process group. @default 'leader' for Python, 'group' for programs */
  readonly signalTarget?: 'leader' | 'group';
}

export const signalTargetChecks: Readonly<Record<keyof SignalTargetOptions, Check>> = {
  signalTarget: oneOf('leader', 'group'),
};
