/**
 * Hides `process.stderr` while a module loads; see argparse.ts. A module of its own, since imports
 * are evaluated before the code between them.
 */
const hidden = Object.getOwnPropertyDescriptor(process, 'stderr');
Object.defineProperty(process, 'stderr', { configurable: true, value: {} });

export function showStderr(): void {
  if (hidden !== undefined) Object.defineProperty(process, 'stderr', hidden);
}
