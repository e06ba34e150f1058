/**
 * Hides `process.stderr` from whoever in Node asks for it without need: making it loads the network stack, and makes a pipe
 * non-blocking for all who have it, workers and a torchrun that has started us among them. What is said there goes another way
 * (console.ts).
 *
 * @returns puts back what was there
 */
export function hideStderr(): () => void {
  const before = Object.getOwnPropertyDescriptor(process, 'stderr');
  Object.defineProperty(process, 'stderr', { configurable: true, value: {} });
  return () => {
    if (before !== undefined) Object.defineProperty(process, 'stderr', before);
  };
}
