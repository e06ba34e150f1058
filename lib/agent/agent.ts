import { closeSync, fstatSync, openSync, readFileSync, readSync, rmSync, statSync } from 'node:fs';
import { launchError } from '../errors.js';
import type { AgentEvent, RunResult, WorkerExit, WorkerIdentity } from '../events.js';
import {
  attemptFolder,
  createAttempt,
  createRunFolder,
  type RunFolder,
  removeTempBase,
  type WorkerFiles,
} from '../logs/layout.js';
import {
  type NativeAddon,
  type NativeEvent,
  type NativeExit,
  type NativeGroupPlan,
  type NativeStore,
  type NativeSupervisor,
  type NativeTail,
  native,
} from '../native.js';
import { portHolder } from '../store/port-holder.js';
import { deferred } from '../util/deferred.js';
import { describeErrno } from '../util/errno.js';
import { broadcast } from '../util/event-queue.js';
import { hostname, qualifiedHostname } from '../util/hostname.js';
import { randomName } from '../util/random.js';
import { signalName, signalNumber } from '../util/signals.js';
import { unreachable } from '../util/unreachable.js';
import {
  describeFailure,
  type ErrorFile,
  parseErrorFile,
  rootCauseOf,
  type WorkerFailure,
} from './failures.js';
import { type Job, roundOf, workerPlans } from './job.js';
import { copyErrorFile } from './own-error-file.js';
import type { Action, Ending, Exit, Happening } from './state.js';
import { initialState, step } from './step.js';

/** Of each piped stream, for the failure report: some eighty lines. */
const tailBytes = 8192;
/** For who holds a pipe of a dead worker. Our own strays are killed before; this bounds strangers. */
const drainMs = 1000;
/** A killed process with tens of gigabytes or a GPU takes seconds to go; torchrun waits as long. */
const killWaitMs = 30_000;
/** Each reader of events may fall this many output events behind before it loses the oldest. */
const maxOutputEvents = 256;
/** More than any traceback; a worker that writes more isn't telling us anything. */
const maxErrorFileBytes = 4 * 1024 * 1024;

export interface Agent {
  readonly result: Promise<RunResult>;
  events(): AsyncIterable<AgentEvent>;
  launch(): void;
  stop(by: 'signal' | 'caller', signal?: string): void;
  /** Where logs and error files are; absent before the launch and where logging is off. */
  runFolder(): string | undefined;
}

/** A round that's ready to start, or why it can't be. */
type Prepared = { readonly round: number } & (
  | { readonly ready: true; readonly plan: NativeGroupPlan }
  | { readonly ready: false; readonly error: unknown }
);

/** What's kept of a round until its failures have been described. */
interface RoundRecord {
  readonly files: readonly WorkerFiles[] | undefined;
  readonly masterPort: number;
  readonly plan: NativeGroupPlan;
  workers: readonly WorkerIdentity[];
  tails: readonly NativeTail[];
}

/** Performs what `step` decides for one job on this node. Nothing happens before `launch`. */
export function createAgent(job: Job): Agent {
  const { settings } = job;
  const result = deferred<RunResult>();
  const told = broadcast<AgentEvent>({
    droppable: event => event.event === 'output-trouble',
    maxDroppable: maxOutputEvents,
  });
  const rounds = new Map<number, RoundRecord>();
  const happenings: Happening[] = [];
  let machine: Machine | undefined;
  let runFolder: RunFolder | undefined;
  let prepared: Prepared | undefined;
  let busy = false;
  let state = initialState({
    maxRestarts: settings.maxRestarts,
    graceMs: settings.shutdownTimeoutMs,
  });

  function happen(happening: Happening): void {
    happenings.push(happening);
    // An action that fails at once happens within the step that ordered it; it waits its turn.
    if (busy) return;
    busy = true;
    try {
      for (let next = happenings.shift(); next !== undefined; next = happenings.shift()) {
        const [after, actions] = step(state, next, nowMs());
        state = after;
        for (const action of actions) perform(action);
      }
    } catch (error) {
      giveUp(error);
    } finally {
      busy = false;
    }
  }

  function perform(action: Action): void {
    switch (action.do) {
      case 'prepare-round':
        prepared = prepare(action.round, action.restartCount);
        return;
      case 'discard-round':
        discard(action.round, action.restartCount);
        return;
      case 'start-round':
        startRound(action.round, action.restartCount);
        return;
      case 'stop-group':
        machine?.supervisor.stopGroup(action.round, {
          signal: signalNumber(action.signal) ?? 15,
          target: job.signalTarget,
          graceMs: action.graceMs,
          killWaitMs,
        });
        return;
      case 'release-round':
        machine?.closeTable(action.round);
        return;
      case 'tell':
        told.publish(action.event);
        return;
      case 'tell-restarting': {
        const { restartsLeft, maxRestarts, atMs } = action;
        const failure = rootCauseOf(describe(action.round, action.exits));
        rounds.delete(action.round);
        if (failure === undefined) return;
        told.publish({ event: 'restarting', failure, restartsLeft, maxRestarts, atMs });
        return;
      }
      case 'finish':
        finish(action.ending);
        return;
      default:
        unreachable(action);
    }
  }

  function prepare(round: number, restartCount: number): Prepared {
    try {
      machine ??= startMachine(job, onNativeEvents);
      runFolder ??= createRunFolder(job.logs, job.runId);
      const files =
        runFolder === undefined
          ? undefined
          : createAttempt(runFolder.path, restartCount, job.localWorldSize);
      const masterPort = machine.openTable(round);
      const cookie = randomName(24);
      const plan: NativeGroupPlan = {
        group: round,
        cookie,
        plans: workerPlans(
          job,
          roundOf(job, { round, restartCount, masterPort, cookie }),
          files,
          hostname,
        ),
        tailBytes,
        drainMs,
      };
      rounds.set(round, { files, masterPort, plan, workers: [], tails: [] });
      return { round, ready: true, plan };
    } catch (error) {
      return { round, ready: false, error };
    }
  }

  function discard(round: number, restartCount: number): void {
    machine?.closeTable(round);
    rounds.delete(round);
    prepared = undefined;
    // Nothing ran there; an attempt that's never been made shouldn't look like one.
    if (runFolder !== undefined) {
      rmSync(attemptFolder(runFolder.path, restartCount), { recursive: true, force: true });
    }
  }

  function startRound(round: number, restartCount: number): void {
    const next = prepared?.round === round ? prepared : prepare(round, restartCount);
    prepared = undefined;
    if (!next.ready) {
      happen({ event: 'start-failed', round, error: next.error });
      return;
    }
    machine?.refreshTable(round);
    machine?.supervisor.startGroup(next.plan);
  }

  function onNativeEvents(events: readonly NativeEvent[]): void {
    for (const event of events) onNativeEvent(event);
  }

  function onNativeEvent(event: NativeEvent): void {
    const { group: round, atMs } = event;
    const record = rounds.get(round);
    if (record === undefined) return;

    switch (event.event) {
      case 'started': {
        const workers = event.pids.map((pid, localRank) => ({
          identity: { rank: localRank, localRank, pid },
          startedAtMs: event.startedAtMs[localRank] ?? atMs,
        }));
        record.workers = workers.map(worker => worker.identity);
        const { masterPort } = record;
        const { masterAddr } = settings;
        happen({ event: 'started', round, atMs, workers, masterAddr, masterPort });
        return;
      }
      case 'start-failed':
        happen({ event: 'start-failed', round, error: startError(event, record.plan) });
        return;
      case 'exited':
        happen({ event: 'exited', round, atMs, localRank: event.index, exit: exitOf(event.exit) });
        return;
      case 'ended': {
        record.tails = event.tails;
        const stuck = event.stuck.map(({ index, state, waitChannel }) => ({
          localRank: index,
          state,
          waitChannel,
        }));
        happen({ event: 'group-ended', round, atMs, stuck, strays: event.strays });
        return;
      }
      case 'output-trouble': {
        const worker = record.workers[event.index];
        if (worker === undefined) return;
        const { path, droppedLines } = event;
        const { code } = describeErrno(event.errno);
        told.publish({ event: 'output-trouble', worker, path, code, droppedLines, atMs });
        return;
      }
      default:
        unreachable(event);
    }
  }

  /** The failures among a round's exits, in their order. */
  function describe(round: number, exits: readonly Exit[]): WorkerFailure[] {
    const record = rounds.get(round);
    const host = qualifiedHostname();
    const unixMinusMonotonicMs = Date.now() - nowMs();
    return exits
      .filter(({ exit }) => exit.how !== 'exited' || exit.code !== 0)
      .map(exit => {
        const { localRank } = exit.worker;
        const errorFile = record?.files?.[localRank]?.errorFile;
        return describeFailure(
          { ...exit, seenAtUnixMs: exit.atMs + unixMinusMonotonicMs },
          {
            file: errorFile === undefined ? { kind: 'absent' } : readErrorFile(errorFile),
            errorFile,
            host,
            tail:
              exit.cause === 'own' && record !== undefined ? tailOf(record, localRank) : undefined,
          },
        );
      });
  }

  function finish(ending: Ending): void {
    switch (ending.outcome) {
      case 'error':
        giveUp(ending.error);
        return;
      case 'succeeded':
        end({ outcome: 'succeeded' });
        return;
      case 'stopped':
        end({ outcome: 'stopped', by: ending.by, signal: ending.signal });
        return;
      case 'failed': {
        const failures = describe(ending.round, ending.exits);
        const rootCause = rootCauseOf(failures);
        if (rootCause === undefined) {
          giveUp(launchError('ERR_INTERNAL', ['a run failed without a failure']));
          return;
        }
        // As in torchrun the run's result doesn't hang on it.
        if (settings.errorFile !== undefined) {
          const reason = copyErrorFile(rootCause, settings.errorFile);
          const atMs = nowMs();
          if (reason !== undefined) told.publish({ event: 'error-file-trouble', reason, atMs });
        }
        end({ outcome: 'failed', rootCause, failures });
        return;
      }
      default:
        unreachable(ending);
    }
  }

  function end(outcome: RunResult): void {
    told.publish({ event: 'ended', outcome: outcome.outcome, atMs: nowMs() });
    // The report names them.
    const keepErrorFiles =
      outcome.outcome === 'failed' && outcome.failures.some(each => each.errorFile !== undefined);
    tearDown({ keepErrorFiles });
    result.resolve(outcome);
  }

  function giveUp(error: unknown): void {
    state = { phase: 'ended', policy: state.policy };
    tearDown({ keepErrorFiles: false });
    result.reject(error);
  }

  function tearDown({ keepErrorFiles }: { readonly keepErrorFiles: boolean }): void {
    told.end();
    machine?.close();
    if (runFolder !== undefined && !job.redirected && !keepErrorFiles) removeTempBase(runFolder);
  }

  return {
    result: result.promise,
    events: () => told.subscribe(),
    launch: () => happen({ event: 'launch' }),
    stop: (by, signal) =>
      happen({ event: 'stop', by, ...(signal === undefined ? {} : { signal }) }),
    runFolder: () => runFolder?.path,
  };
}

/** The addon's threads, for one run, and the store's table of each round. */
interface Machine {
  readonly supervisor: NativeSupervisor;
  /** Gives the port. A fixed port's table is opened once, and serves every round. */
  openTable(round: number): number;
  /** Empties a table that an earlier round has used; its workers must be gone. */
  refreshTable(round: number): void;
  closeTable(round: number): void;
  close(): void;
}

function startMachine(job: Job, onEvents: (events: readonly NativeEvent[]) => void): Machine {
  const { settings } = job;
  const addon = native();
  const disable = settings.disable ?? disabledFeatures(process.env.REGROUP_DISABLE);
  const supervisor = addon.createSupervisor({ disable }, onEvents);
  const tables = new Map<number, { readonly table: number; readonly port: number }>();
  const isFixed = settings.masterPort !== 0;
  let store: NativeStore | undefined;
  let used = false;
  killAtExit(supervisor);

  return {
    supervisor,
    openTable(round) {
      store ??= addon.createStore();
      const key = isFixed ? 0 : round;
      const table = tables.get(key) ?? openTable(store, settings.masterAddr, settings.masterPort);
      tables.set(key, table);
      return table.port;
    },
    refreshTable() {
      const table = isFixed && used ? tables.get(0) : undefined;
      if (table !== undefined) store?.resetTable(table.table);
      used = true;
    },
    closeTable(round) {
      const table = isFixed ? undefined : tables.get(round);
      if (table === undefined) return;
      tables.delete(round);
      store?.closeTable(table.table);
    },
    close() {
      // At once, so that whoever launches next may have the port.
      store?.close();
      dontKillAtExit(supervisor);
      // We may be within a call from its thread. Nothing is left for it to do.
      setImmediate(() => supervisor.close());
    },
  };
}

/**
 * Workers on this node reach a loopback address by loopback only, so nobody else is served then.
 *
 * @throws ERR_PORT
 */
function openTable(
  store: NativeStore,
  masterAddr: string,
  port: number,
): { readonly table: number; readonly port: number } {
  let failure: unknown;
  for (const hosts of hostsOf(masterAddr)) {
    try {
      return store.openTable({ hosts, port });
    } catch (error) {
      failure = error;
      // Fallback: kernels without IPv6.
      if (!['EAFNOSUPPORT', 'EADDRNOTAVAIL'].includes(codeOf(error) ?? '')) break;
    }
  }
  const why = portProblem(failure, masterAddr, port);
  throw launchError('ERR_PORT', [addressOf(masterAddr, port), why], failure);
}

/** Port 0 is nobody's: any would have done. */
function addressOf(host: string, port: number): string {
  if (port === 0) return host;
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * Lists of addresses to serve, in the order in which they're tried. A name may mean any address of
 * this machine. An address is served as it is: if it isn't this machine's, workers would wait for it
 * until they give up, and so we learn it now.
 */
function hostsOf(masterAddr: string): readonly (readonly string[])[] {
  // `localhost` means either of them, depending on the resolver.
  if (masterAddr === 'localhost' || masterAddr === '127.0.0.1')
    return [['127.0.0.1', '::1'], ['127.0.0.1']];
  if (masterAddr.includes(':') || /^\d{1,3}(\.\d{1,3}){3}$/.test(masterAddr)) return [[masterAddr]];
  return [['::'], ['0.0.0.0']];
}

function portProblem(error: unknown, masterAddr: string, port: number): string {
  switch (codeOf(error)) {
    case 'EADDRNOTAVAIL':
      return `${masterAddr} is not an address of this machine; give one that is, or localhost`;
    case 'EINVAL':
      return `${masterAddr} is not an address; give one of this machine, or localhost`;
    case 'EADDRINUSE': {
      const holder = portHolder(port);
      return `the port is in use${holder === undefined ? '' : ` by ${holder}`}; choose another one, or none for a free one`;
    }
    case 'EACCES':
      return 'ports below 1024 are for the superuser; choose another one, or none for a free one';
    default:
      return error instanceof Error ? error.message : String(error);
  }
}

function disabledFeatures(list: string | undefined): string[] {
  return (list ?? '')
    .split(',')
    .map(name => name.trim())
    .filter(name => name !== '');
}

// One listener for all runs: ten runs in one process are no leak that Node should warn of.
const supervisors = new Set<NativeSupervisor>();

function killAtExit(supervisor: NativeSupervisor): void {
  if (supervisors.size === 0) process.on('exit', killAll);
  supervisors.add(supervisor);
}

function dontKillAtExit(supervisor: NativeSupervisor): void {
  supervisors.delete(supervisor);
  if (supervisors.size === 0) process.off('exit', killAll);
}

/** process.exit() in the middle of a run: the addon's cleanup hooks don't run then. */
function killAll(): void {
  for (const supervisor of supervisors) supervisor.killAll(1000);
}

function startError(
  event: Extract<NativeEvent, { event: 'start-failed' }>,
  plan: NativeGroupPlan,
): Error {
  const { step: where, errno, syscall, detail, index } = event;
  const { code, text } = describeErrno(errno);
  const cause = Object.assign(new Error(`${syscall}: ${code}`), { code, errno, syscall });
  if ((where === 'resolve' || where === 'exec') && code === 'ENOENT') {
    const program = detail === '' ? (plan.plans[index]?.file ?? '') : detail;
    return launchError('ERR_NO_PROGRAM', [program], cause);
  }
  const why =
    where === 'killed-before-exec'
      ? 'it was killed before its program ran; the machine or its cgroup may be out of memory'
      : text + adviceFor(code);
  return launchError(
    'ERR_SPAWN',
    [index, detail === '' ? where : `${where} ${detail}`, why],
    cause,
  );
}

function adviceFor(code: string): string {
  switch (code) {
    case 'EAGAIN':
      return '; the limit of processes is reached: see `ulimit -u` and pids.max of the cgroup';
    case 'EMFILE':
    case 'ENFILE':
      return '; the limit of open files is reached: see `ulimit -n`';
    case 'ENOMEM':
      return '; there is too little memory';
    case 'EACCES':
      return '; it must be executable, and every folder above it searchable';
    case 'ENOEXEC':
      return '; it is neither a program nor a script with #! in its first line';
    case 'E2BIG':
      return '; arguments and environment together are too large';
    default:
      return '';
  }
}

function exitOf(exit: NativeExit): WorkerExit {
  if (exit.how !== 'signaled') return exit;
  const { signal: number, coreDumped } = exit;
  const signal = signalName(number) ?? `SIG${number}`;
  return { how: 'signaled', signal, signalNumber: number, coreDumped };
}

function readErrorFile(path: string): ErrorFile {
  try {
    const found = statSync(path);
    // A named pipe would make us wait for its writer.
    if (!found.isFile()) return { kind: 'malformed', reason: "isn't a file" };
    if (found.size > maxErrorFileBytes) {
      return { kind: 'malformed', reason: `has ${found.size} bytes` };
    }
    return parseErrorFile(readFileSync(path, 'utf8'));
  } catch (error) {
    return codeOf(error) === 'ENOENT'
      ? { kind: 'absent' }
      : { kind: 'malformed', reason: `can't be read: ${codeOf(error)}` };
  }
}

/** The last whole lines of a worker's stderr, from the pump or from the file that it went to. */
function tailOf(record: RoundRecord, localRank: number): string | undefined {
  const stderr = record.plan.plans[localRank]?.stderr;
  const bytes =
    stderr?.to === 'file'
      ? readTail(stderr.path)
      : record.tails.find(tail => tail.index === localRank)?.stderr;
  if (bytes === undefined) return undefined;

  const text = bytes.toString('utf8').trimEnd();
  // A full buffer begins in the middle of a line, as a rule.
  const lineAt = bytes.length < tailBytes ? 0 : text.indexOf('\n') + 1;
  return text.slice(lineAt);
}

function readTail(path: string): Buffer | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    const { size } = fstatSync(fd);
    const bytes = Buffer.alloc(Math.min(size, tailBytes));
    return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, size - bytes.length));
  } catch {
    // The worker may have removed it; the report goes without.
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as { code?: string } | undefined)?.code; // fs and addon errors have it
}

let addon: NativeAddon | undefined;

/** The addon's clock. Before it's loaded nothing has happened that could be compared with. */
function nowMs(): number {
  addon ??= native();
  return addon.monotonicMs();
}
