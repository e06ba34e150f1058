import type { Entrypoint } from '../options.js';

/**
 * Whether workers of this entrypoint preload the library for an early notice. Python does. Any program
 * needn't take it well: one that was built with AddressSanitizer ends at once if another library comes
 * before the sanitizer's, and one of another architecture complains of it on stderr.
 */
export function isEarlyEntrypoint(entrypoint: Entrypoint): boolean {
  return !('program' in entrypoint);
}

/** Whether LD_PRELOAD can hold the path: it separates by colons and spaces, and expands `$ORIGIN`. */
export function canPreload(path: string): boolean {
  return !/[\s:$]/.test(path);
}
