/**
 * Signals of Linux on x64 and arm64, by number. A table of ours, since node:os has no way from
 * number to name and names like SIGCLD and SIGPOLL would win over the ones that Python prints.
 *
 * @source signal(7); names as CPython's signal.Signals(n).name gives them
 */
const names: Readonly<Record<number, string>> = {
  1: 'SIGHUP',
  2: 'SIGINT',
  3: 'SIGQUIT',
  4: 'SIGILL',
  5: 'SIGTRAP',
  6: 'SIGABRT',
  7: 'SIGBUS',
  8: 'SIGFPE',
  9: 'SIGKILL',
  10: 'SIGUSR1',
  11: 'SIGSEGV',
  12: 'SIGUSR2',
  13: 'SIGPIPE',
  14: 'SIGALRM',
  15: 'SIGTERM',
  16: 'SIGSTKFLT',
  17: 'SIGCHLD',
  18: 'SIGCONT',
  19: 'SIGSTOP',
  20: 'SIGTSTP',
  21: 'SIGTTIN',
  22: 'SIGTTOU',
  23: 'SIGURG',
  24: 'SIGXCPU',
  25: 'SIGXFSZ',
  26: 'SIGVTALRM',
  27: 'SIGPROF',
  28: 'SIGWINCH',
  29: 'SIGIO',
  30: 'SIGPWR',
  31: 'SIGSYS',
  34: 'SIGRTMIN',
  64: 'SIGRTMAX',
};

const numbers = new Map(Object.entries(names).map(([number, name]) => [name, Number(number)]));

export const signalNames: readonly string[] = Object.values(names);

/** `SIGTERM` for 15; nothing for a number without a name. */
export function signalName(number: number): string | undefined {
  return names[number];
}

/** `SIGUSR1` for `USR1`, `SIGUSR1`, `usr1` and `10`, as kill(1) takes them; nothing for a name that isn't one. */
export function signalNamed(text: string): string | undefined {
  const name = text
    .trim()
    .toUpperCase()
    .replace(/^(SIG)?/, 'SIG');
  const number = signalNumber(name);
  return number === undefined ? undefined : (signalName(number) ?? name);
}

/** 15 for `SIGTERM`, 36 for `SIG36`; nothing for a name that isn't one. */
export function signalNumber(name: string): number | undefined {
  const known = numbers.get(name);
  if (known !== undefined) return known;

  const unnamed = /^SIG(\d{1,2})$/.exec(name);
  const number = Number(unnamed?.[1]);
  return number >= 1 && number <= 64 ? number : undefined;
}

/**
 * The same signal again within this time is the first one, delivered twice: npm, srun and shells
 * forward what a terminal's Ctrl-C has sent to the whole foreground group already. Taken for
 * impatience, it would cost the workers the time to write their checkpoint.
 */
export const echoMs = 100;
