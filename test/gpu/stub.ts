import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/**
 * NVIDIA's library as test/native has it, compiled into `folder`.
 *
 * @param text what it tells; see its source
 * @returns the environment that makes the addon load it
 */
export function stubLibrary(folder: string, text: string): Record<string, string> {
  const library = join(folder, 'nvml_stub.so');
  const source = resolve('test/native/nvml_stub.c');
  execFileSync('cc', ['-shared', '-fPIC', '-o', library, source]);
  const gpus = join(folder, 'gpus');
  writeFileSync(gpus, text);
  return { REGROUP_NVML: library, REGROUP_NVML_STUB: gpus };
}
