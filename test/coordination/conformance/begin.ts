import type { Test } from 'tap';
import type { Coordination } from '../../../lib/coordination/coordination.js';

/** A client, which is closed with the test, and a prefix that nobody else uses. */
export type Begin = (t: Test) => Promise<{ readonly c: Coordination; readonly at: string }>;

/** Of the error that it throws or rejects with; or 'none'. */
export async function codeOf(run: () => unknown): Promise<string> {
  try {
    await run();
    return 'none';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error); // a CoordinationError has it
  }
}
