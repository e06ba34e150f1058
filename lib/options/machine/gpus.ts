import { type Check, milliseconds } from '../checks.js';

export interface GpuOptions {
  /**
   * When a round's processes are gone: how long to wait, at most, until none of them holds a GPU any
   * more. Only where there are GPUs; 0: nobody looks. @default 10_000
   */
  readonly gpuWaitMs?: number;
}

export const gpuDefaults = { gpuWaitMs: 10_000 } as const;

export const gpuChecks: Readonly<Record<keyof GpuOptions, Check>> = { gpuWaitMs: milliseconds };
