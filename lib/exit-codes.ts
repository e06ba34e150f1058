/**
 * Exit codes of the command beyond torchrun's. They're stable, so that JobSet's podFailurePolicy and
 * batch scripts can be written for them.
 *
 * 1 stays torchrun's code for all that torchrun ends with 1; only endings that it doesn't know have
 * codes of their own. Those lie above sysexits' (64–78) and below the shells' (126–165), whose
 * first two say here what they say there: what was called can't be run.
 */
export const exitCodes = {
  succeeded: 0,
  /** A worker failed and no restart was left, or a handled signal ended the job. */
  failed: 1,
  usage: 2,
  /** A rule said that trying again elsewhere won't help either. */
  noRequeue: 81,
  /** Rounds failed one after the other without progress, or the first one at once. */
  noProgress: 82,
  /** A process is stuck in the kernel: this node needs a look before it gets another job. */
  nodeUnfit: 83,
  /** A preemption notice came, and not every worker ended with 0. */
  preempted: 84,
  /** A mistake of ours; nothing is said about the job or the node. */
  internal: 85,
  /** The Node.js that was found can't be run, or is too old. As a shell ends for such a program. */
  nodeUnusable: 126,
  /** There's no Node.js. */
  noNode: 127,
} as const;
