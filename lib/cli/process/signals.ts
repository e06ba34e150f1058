import { signalNumber } from '../../util/signals.js';

/**
 * Signals that would end us by default and that somebody may send on purpose. SIGSEGV and its
 * kind are left alone: when our own code raises them, no listener would ever run. Node has no
 * listeners for real-time signals, and ignores SIGPIPE.
 */
const terminating: readonly NodeJS.Signals[] = [
  'SIGTERM',
  'SIGINT',
  'SIGHUP',
  'SIGQUIT',
  'SIGUSR1', // would start Node's inspector otherwise, on a port
  'SIGUSR2',
  'SIGALRM',
  'SIGVTALRM',
  'SIGXCPU',
  'SIGIO',
  'SIGPWR',
  'SIGSTKFLT',
];

export interface SignalWatch {
  /** Gets every terminating signal from now on; by default they end us at once. */
  onSignal(listener: (signal: NodeJS.Signals) => void): void;
  /** Catches these signals too, which needn't be terminating. */
  add(signals: readonly NodeJS.Signals[]): void;
  /** Ends this process by that very signal, so that whoever waits for us sees which. */
  dieBy(signal: NodeJS.Signals): void;
}

/** Catches signals until the process ends. @param ignored those that stay as they are unless they're added */
export function watchSignals(ignored: readonly NodeJS.Signals[]): SignalWatch {
  const watched = new Set<NodeJS.Signals>();
  let listener = dieBy;

  function dieBy(signal: NodeJS.Signals): void {
    // Without a listener its default action is back, SIGUSR1's too: Node's inspector isn't asked.
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
    // The kernel spares process 1 of a container from its own signals: what a shell would report.
    if (process.pid === 1) process.exit(128 + (signalNumber(signal) ?? 0));
  }

  function add(signals: readonly NodeJS.Signals[]): void {
    for (const signal of signals) {
      if (watched.has(signal)) continue;
      watched.add(signal);
      process.on(signal, () => listener(signal));
    }
  }

  add(terminating.filter(signal => !ignored.includes(signal)));
  return {
    onSignal(next) {
      listener = next;
    },
    add,
    dieBy,
  };
}
