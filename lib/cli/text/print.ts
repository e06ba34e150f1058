import type { AgentEvent, RunResult, WorkerFailure, WorkerIdentity } from '../../events.js';
import type { Interpreter, LogFiles, LoggedWorker } from '../../launch.js';
import { duration } from '../../util/duration.js';
import { signalNumber } from '../../util/signals.js';
import { isSuccess } from '../../worker-exit.js';
import { type LogLevel, logLevels } from '../line/settings.js';
import {
  attempts,
  by,
  describeBreak,
  describeHolder,
  describeOpen,
  describePlace,
  describePreemption,
  describeRestart,
  describeScheduler,
  describeServer,
  describeStuck,
  describeTorchrun,
  describeWait,
  type Event,
  fencedWords,
  orderedWords,
  outlook,
  reasons,
} from './describe.js';
import {
  describeOutlasted,
  describeOutlasting,
  describeTail,
  interpreterToBlame,
  lastWords,
  whereToLook,
} from './last-words.js';
import { noteOf } from './notes.js';
import { describeDump, describeHang, describeRoot, describeTimer } from './print-hang.js';
import { describeTimes } from './restarts.js';
import { failedLine, failureReport, headline } from './torchrun-report.js';
import { logLines, ompWarning, rendezvousResult } from './torchrun-text.js';

type LevelName = keyof typeof logLevels;

export interface PrinterOptions {
  readonly logLevel: LogLevel;
  readonly role: string;
  readonly maxRestarts: number;
  /** Whether a failure policy decides, when a round is over, what follows from its failure. */
  readonly hasPolicy: boolean;
  /** Whether OMP_NUM_THREADS is left to us. */
  readonly ompIsUnset: boolean;
  readonly pid: number;
  /** Files of a worker's output; absent: none outlives the run. */
  logFiles(worker: LoggedWorker): LogFiles | undefined;
  /** Whether the folder of logs has a name that nobody has chosen. */
  readonly logsInTemp: boolean;
  /** Gets whole lines. */
  write(text: string): void;
  now(): Date;
}

/** What torchrun's messages call the thing that failed. */
export interface RunName {
  /** Title of the report: the script, module or program. */
  readonly name: string;
  /** The executable of the workers. */
  readonly binary: string;
  /** Start method of function entrypoints. */
  readonly startMethod?: string;
  /** Interpreter of Python entrypoints. */
  readonly interpreter?: Interpreter | undefined;
}

/** Events and results → text for people, on stderr. Keeps the little state that the words need. */
export interface Printer {
  log(level: LevelName, text: string): void;
  event(event: AgentEvent): void;
  /** Why a failed run isn't tried again. */
  ended(result: Extract<RunResult, { outcome: 'failed' }>): void;
  /** The last words of a run that succeeded: none, unless a notice came before. */
  succeeded(): void;
  /** The last words of a preempted run. */
  preempted(failures: readonly WorkerFailure[], exitCode: number): void;
  /** The last words of a failed run: torchrun's report, and then ours in one line. */
  failed(
    run: RunName,
    rootCause: WorkerFailure,
    failures: readonly WorkerFailure[],
    exitCode: number,
  ): void;
}

export function createPrinter(options: PrinterOptions): Printer {
  const { role, maxRestarts, hasPolicy } = options;
  let restartCount = 0;
  let living = new Map<number, WorkerIdentity>();
  let stopSignal: string | undefined;
  /** The rank that this round's headline is about. */
  let named: number | undefined;
  /** Rank of the culprit of the hang that was found last. */
  let culprit: number | undefined;
  let isPreempted = false;
  /** Whether people know that this node waits for others. */
  let isWaiting = false;
  /** The last round has gone on, or ended, without this node. */
  let isOut = false;
  let hasStarted = false;
  /** Rounds that were asked for. */
  let spared = 0;

  function log(level: LevelName, text: string): void {
    if (logLevels[level] < options.logLevel) return;
    options.write(logLines(level, text, options.now(), options.pid));
  }

  /** Writes a text without a level in front: for people first. */
  function say(text: string): void {
    if (logLevels.ERROR >= options.logLevel) options.write(`regroup: ${text}\n`);
  }

  function onRoundStarted(event: Event<'round-started'>): void {
    const isFirst = event.round === 0;
    restartCount = event.restartCount;
    living = new Map(event.workers.map(worker => [worker.pid, worker]));
    stopSignal = undefined;
    named = undefined;
    if (isWaiting) say(describePlace(event));
    isWaiting = false;
    isOut = false;
    hasStarted = true;
    if (isFirst && options.ompIsUnset && event.workers.length > 1) log('WARNING', ompWarning);
    const folder = isFirst ? logsOf(0)?.folder : undefined;
    if (folder !== undefined && options.logsInTemp) say(`logs: ${folder}`);
    if (logLevels.INFO < options.logLevel) return;

    log('INFO', rendezvousResult(event, role));
    log('INFO', `[${role}] Starting worker group`);
  }

  function onExited({ worker, exit, durationMs, duringStop, cause }: Event<'worker-exited'>): void {
    living.delete(worker.pid);
    if (duringStop) {
      // One that somebody else has killed had its grace, and the report names it.
      const isKilled = exit.how === 'signaled' && exit.signal === 'SIGKILL' && cause !== 'own';
      if (!isKilled || stopSignal === undefined || stopSignal === 'SIGKILL') return;
      const via = signalNumber(stopSignal);
      log(
        'WARNING',
        `Unable to shutdown process ${worker.pid} via ${via}, forcefully exiting via 9`,
      );
      return;
    }
    if (!isSuccess(exit)) sayFirst({ worker, exit, durationMs });
  }

  /** A round's first failure, whether it's over or just beginning. What came first isn't known before all have ended. */
  function sayFirst({
    worker,
    exit,
    durationMs,
  }: Pick<Event<'worker-dying'>, 'worker' | 'exit' | 'durationMs'>): void {
    if (named !== undefined || isPreempted) return;
    named = worker.rank;
    say(withOutlook(headline({ ...worker, exit, durationMs })));
    sayWhere(worker);
  }

  function withOutlook(what: string): string {
    if (hasPolicy) return what;
    return `${what}; ${outlook(maxRestarts - restartCount + spared, maxRestarts)}`;
  }

  /** Where the headline was about another one. */
  function sayRoot(rootCause: WorkerFailure): void {
    if (named === undefined || named === rootCause.rank) return;
    named = rootCause.rank;
    say(describeRoot(rootCause));
    // Another node's files are there.
    if (rootCause.node === undefined) sayWhere(rootCause);
  }

  function sayPeer({ failures: [root] }: Event<'peer-failed'>): void {
    if (root === undefined) return;
    named = root.rank;
    say(describeRoot(root));
  }

  function sayWhere({ rank, localRank }: WorkerIdentity): void {
    for (const line of whereToLook(rank, logsOf(localRank))) say(line);
  }

  function logsOf(localRank: number): LogFiles | undefined {
    return options.logFiles({ restartCount, localRank });
  }

  function onStopping({ signal, reason, graceMs }: Event<'stopping'>): void {
    if (reason === 'hang') named = culprit;
    if (reason === 'ordered' && ++spared > 0) say(orderedWords);
    if (reason === 'fenced') {
      isOut = true;
      say(fencedWords);
    }
    // A SIGKILL on top of another signal is told when it has hit.
    if (stopSignal !== undefined && signal === 'SIGKILL') return;
    if (reason === 'signal' && stopSignal === undefined && graceMs > 0) {
      const again = signal === 'SIGINT' ? 'second Ctrl-C' : `second ${signal}`;
      say(`waiting up to ${duration(graceMs)} for the workers to end; a ${again} kills them`);
    }
    stopSignal = signal;
    for (const pid of living.keys())
      log('WARNING', `Sending process ${pid} closing signal ${signal}`);
  }

  function event(event: AgentEvent): void {
    switch (event.event) {
      case 'round-started':
        onRoundStarted(event);
        break;
      case 'worker-dying':
        // No signal will change its end, so we needn't say that it's sent one.
        living.delete(event.worker.pid);
        if (!event.duringStop) sayFirst(event);
        break;
      case 'worker-exited':
        onExited(event);
        break;
      case 'stopping':
        onStopping(event);
        break;
      case 'outlasting':
        say(describeOutlasting(event));
        break;
      case 'preempting':
        isPreempted = true;
        say(describePreemption(event));
        break;
      case 'restarting':
        sayRoot(event.failure);
        if (hasPolicy) say(describeRestart(event));
        log('INFO', `[${role}] Worker group FAILED. ${attempts(event)}; will restart worker group`);
        break;
      case 'restarted':
      case 'restart-summary':
        say(describeTimes(event));
        break;
      case 'hung':
        say((event.action === 'restart' ? withOutlook : String)(describeHang(event)));
        sayWhere(event.hang.worker);
        break;
      case 'dumped':
        culprit = event.culprit?.rank;
        say(describeDump(event));
        break;
      case 'timer-expired':
        say(describeTimer(event));
        break;
      case 'worker-stuck':
        say(describeStuck(event));
        break;
      case 'gpu-held':
        for (const holder of event.holders) log('WARNING', describeHolder(holder));
        break;
      case 'hook-output':
        options.write(`${event.hook}: ${event.line}\n`);
        break;
      case 'round-broken':
        say(describeBreak(event));
        break;
      case 'peer-failed':
        sayPeer(event);
        break;
      case 'server-gone':
      case 'server-back':
        say(describeServer(event));
        break;
      case 'open-to-all':
        say(describeOpen(event));
        break;
      case 'joins-torchrun':
        say(describeTorchrun(event));
        break;
      case 'waiting-for-nodes':
        isWaiting ||= event.waitsFor !== 'peers';
        say(describeWait(event));
        break;
      case 'metrics-served':
        say(`metrics: ${event.url}`);
        break;
      case 'scheduler-read':
        say(describeScheduler(event));
        break;
      default: {
        const note = noteOf(event, { role, hasStarted });
        if (note !== undefined) log(note.level, note.text);
      }
    }
  }

  function failed(
    run: RunName,
    rootCause: WorkerFailure,
    failures: readonly WorkerFailure[],
    exitCode: number,
  ): void {
    sayRoot(rootCause);
    log('ERROR', failedLine(rootCause, run.binary, run.startMethod));
    if (rootCause.outOfMemory !== undefined)
      say(`worker ${rootCause.rank}: ${rootCause.outOfMemory}`);
    if (rootCause.outOfPids !== undefined) say(`worker ${rootCause.rank}: ${rootCause.outOfPids}`);
    const tail = describeTail(rootCause);
    if (tail !== undefined) say(tail);
    for (const line of describeOutlasted(failures)) say(line);
    options.write(`${failureReport(run.name, failures)}\n`);
    const isOurs = rootCause.node === undefined;
    const interpreter = isOurs ? interpreterToBlame(rootCause, run.interpreter) : undefined;
    if (interpreter !== undefined) say(interpreter);
    const logs = isOurs ? logsOf(rootCause.localRank) : undefined;
    if (logs !== undefined) say(`logs: ${logs.folder}`);
    say(lastWords(rootCause, exitCode, logs));
  }

  function succeeded(): void {
    if (isPreempted) say('preempted; every worker ended with code 0; exit code 0');
    else if (isWaiting || isOut || !hasStarted)
      say('the job has succeeded while this node waited for a place in it; exit code 0');
  }

  function ended({ because, rule }: Extract<RunResult, { outcome: 'failed' }>): void {
    if (because !== 'no-restarts-left' || hasPolicy)
      say(`the job ends: ${reasons[because]}${by(rule)}`);
  }

  function preempted(failures: readonly WorkerFailure[], exitCode: number): void {
    for (const failure of failures) {
      say(headline(failure));
      sayWhere(failure);
    }
    say(`preempted; exit code ${exitCode}`);
  }

  return { log, event, failed, ended, succeeded, preempted };
}
