import { adviceFor, codeOf, describeErrno } from './util/errno.js';
import { shown } from './util/shown.js';

/**
 * One class, one table, stable codes. The message says what, where, and what to try; the
 * original error is `cause`, and `errno` and `syscall` of the addon come along.
 */
export class RegroupError extends Error {
  override readonly name = 'RegroupError';
  readonly code: ErrorCode;
  readonly errno?: number;
  readonly syscall?: string;

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; errno?: number; syscall?: string } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    if (options.errno !== undefined) this.errno = options.errno;
    if (options.syscall !== undefined) this.syscall = options.syscall;
  }
}

const messages = {
  /** An option's value isn't acceptable. What may be a secret isn't in `problem`. */
  ERR_OPTION: (option: string, problem: string) => `${option}: ${problem}`,
  /** A word of nprocPerNode that names no kind of device. */
  ERR_NPROC: (word: string) =>
    `Unsupported nproc_per_node value: ${word}; give a number from 1, 'auto', 'cpu', 'gpu' or 'xpu'`,
  /** Devices were asked for and there are none. `kind` is `Cuda` or `Xpu`, as torchrun spells them. */
  ERR_NO_DEVICES: (kind: string) => `${kind} is not available.`,
  /** There's no interpreter to run the entrypoint with. */
  ERR_NO_PYTHON: () =>
    'no Python interpreter: neither PYTHON_EXEC, an active virtualenv or conda environment, ./.venv nor python3 on PATH gives one; set PYTHON_EXEC or activate an environment',
  /** Workers can't be bound as asked. */
  ERR_PLACEMENT: (why: string) =>
    `workers can't be bound: ${why}; --numa-fallback starts them unbound`,
  /** Workers that each see one device need as many. */
  ERR_VISIBLE_DEVICES: (localRank: number, where: string) =>
    `local_rank ${localRank} exceeds available GPUs in ${where}`,
  /** A worker could not be started; none is left. */
  ERR_SPAWN: (rank: number, step: string, why: string) =>
    `worker ${rank} could not start: ${step}: ${why}`,
  /** There's no such script, or it can't be read. `what` is Python's own words for it. */
  ERR_NO_SCRIPT: (what: string, path: string, hint: string) => `${what}: '${path}'${hint}`,
  /** A worker's start doesn't come back from the kernel, and the stop of the job could wait no longer. */
  ERR_START_HANGS: (rank: number, step: string, process: string) =>
    `worker ${rank} could not start, and can't be stopped: ${step} doesn't come back from the kernel (${process}); is its disk there?`,
  /** The program or interpreter doesn't exist. */
  ERR_NO_PROGRAM: (path: string, why = '') =>
    `[Errno 2] No such file or directory: '${path}'${why}`,
  /** The hook before a round failed, so nothing was started. */
  ERR_HOOK: (hook: string, round: number, why: string) =>
    `the ${hook} hook of round ${round} ${why}; the round was not started`,
  /** The log folder can't be used. */
  ERR_LOG_DIR: (path: string, why: string) => `log_dir: ${path} ${why}`,
  /** The store's port can't be had. */
  ERR_PORT: (address: string, why: string) => `cannot serve the store at ${address}: ${why}`,
  /** The nodes of a job don't come together, or this one can't take part. */
  ERR_RENDEZVOUS: (why: string) => `rendezvous: ${why}`,
  /** Nobody served the store's protocol there until the deadline. */
  ERR_STORE_CONNECT: (address: string, afterMs: number, why: string) =>
    `no store answers at ${address}, tried for ${afterMs} ms: ${why}`,
  /** The deadline of a call that has changed nothing, or of a barrier, where the arrival stays counted. */
  ERR_STORE_TIMEOUT: (call: string, address: string, afterMs: number) =>
    `${call} timed out after ${afterMs} ms at the store ${address}`,
  /** The connection broke, again and again if the call can be repeated. It has changed nothing. */
  ERR_STORE_LOST: (call: string, address: string, afterMs: number, why: string) =>
    `${call} lost the store ${address} after ${afterMs} ms: ${why}`,
  /** A change was sent and never confirmed. Only the caller knows whether it may be repeated. */
  ERR_STORE_OUTCOME_UNKNOWN: (call: string, address: string, afterMs: number, why: string) =>
    `${call} was sent to the store ${address} and may or may not have taken effect, after ${afterMs} ms: ${why}`,
  /** Whoever listens there doesn't answer as a store does. */
  ERR_STORE_PROTOCOL: (call: string, address: string, why: string) =>
    `${call}: ${address} doesn't answer as a store does: ${why}`,
  /** The client was closed before or during the call. */
  ERR_STORE_CLOSED: (call: string, address: string) =>
    `${call}: the client of the store ${address} is closed`,
  /** The server's dialect has no such operation. */
  ERR_STORE_UNSUPPORTED: (call: string, address: string, dialect: string) =>
    `${call}: the store ${address} speaks dialect ${dialect}, which has no such operation`,
  /** The addon isn't there or doesn't load. */
  ERR_NATIVE_MISSING: (folder: string, why: string) =>
    `the native addon can't be loaded from ${folder}: ${why}; \`npm rebuild regroup\` builds it, with a compiler, make and Python`,
  /** The machine, or a limit of this process, refuses what regroup itself needs before any worker starts. */
  ERR_MACHINE: (what: string, why: string) => `${what}: ${why}`,
  /** Not available on this platform. */
  ERR_PLATFORM: (why: string) => why,
  /** Our own mistake. */
  ERR_INTERNAL: (why: string) => `internal error: ${why}; please report it`,
} as const;

export type ErrorCode = keyof typeof messages;

/** Makes the error of a code; `args` are those of its message. */
export function launchError<C extends ErrorCode>(
  code: C,
  args: Parameters<(typeof messages)[C]>,
  cause?: unknown,
): RegroupError {
  const text = (messages[code] as (...args: unknown[]) => string)(...args);
  const native = cause as { errno?: unknown; syscall?: unknown } | undefined;
  return new RegroupError(code, text, {
    ...(cause === undefined ? {} : { cause }),
    ...(typeof native?.errno === 'number' ? { errno: native.errno } : {}),
    ...(typeof native?.syscall === 'string' ? { syscall: native.syscall } : {}),
  });
}

/**
 * ERR_MACHINE of an error that a system call has given: the addon's or node:fs's. Any other is passed through, for it's a
 * mistake of ours.
 *
 * @param what couldn't be done, as `can't start the supervisor`
 */
export function machineError(what: string, error: unknown): unknown {
  const { errno, syscall } = (error ?? {}) as { errno?: unknown; syscall?: unknown };
  if (error instanceof RegroupError || typeof errno !== 'number') return error;

  // node:fs gives them below 0.
  const { code, text } = describeErrno(Math.abs(errno));
  const call = typeof syscall === 'string' ? `${syscall}: ` : '';
  // It says so as well where there's no memory for the thread's stack.
  const or = syscall === 'pthread_create' && code === 'EAGAIN' ? ', or `ulimit -v`' : '';
  return launchError('ERR_MACHINE', [what, `${call}${text}${adviceFor(code)}${or}`], error);
}

/** The same for an error that has come from anywhere: only if something has run out, which is nobody's mistake. */
export function shortageError(error: unknown): unknown {
  return adviceFor(codeOf(error)) === '' ? error : machineError("regroup can't go on", error);
}

/** Does what a machine may refuse. @throws ERR_MACHINE */
export function onMachine<T>(what: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw machineError(what, error);
  }
}

/** ERR_OPTION about a value as a whole. */
export function valueError(
  option: string,
  value: unknown,
  accepted: string,
  cause?: unknown,
): RegroupError {
  const problem = `${shown(value)} is not accepted; give ${accepted}`;
  return launchError('ERR_OPTION', [option, problem], cause);
}
