import { earlyLibrary, exitGuardLibrary } from '../native/addon.js';
import type { Entrypoint } from '../options/launch-options.js';

/**
 * The libraries that workers of this entrypoint preload; the addon leaves them out where the interpreter
 * turns out to be something else. Any program needn't take them well: one built with AddressSanitizer
 * ends at once if another library comes before the sanitizer's, and one of another architecture complains
 * on stderr.
 *
 * @param disable features to do without: `early-notice`, `exit-guard`
 */
export function preloadsOf(
  entrypoint: Entrypoint,
  disable: readonly string[],
): { readonly earlyLibrary?: string; readonly exitGuardLibrary?: string } {
  if ('program' in entrypoint) return {};
  const preloads = {
    ...(disable.includes('early-notice') ? {} : { earlyLibrary: earlyLibrary() }),
    ...(disable.includes('exit-guard') ? {} : { exitGuardLibrary: exitGuardLibrary() }),
  };
  return Object.values(preloads).every(canPreload) ? preloads : {};
}

/** Whether LD_PRELOAD can hold the path: it separates by colons and spaces, and expands `$ORIGIN`. */
function canPreload(path: string): boolean {
  return !/[\s:$]/.test(path);
}
