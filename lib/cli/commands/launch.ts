import { shortageError } from '../../errors.js';
import type { RunResult } from '../../events.js';
import { exitCodes } from '../../exit-codes.js';
import { launch, type Run, type RunDescription } from '../../launch.js';
import { failureChecks } from '../../options/failures.js';
import type { LaunchOptions } from '../../options/launch-options.js';
import { here } from '../../options/scheduler/surroundings.js';
import { exitNow, learnGpus, reapOrphans } from '../../own-process.js';
import { signalNumber } from '../../util/signals.js';
import { unreachable } from '../../util/unreachable.js';
import { controlCommands } from '../control/names.js';
import { parseCommand } from '../line/args.js';
import { type CliSettings, logLevels, withoutIgnored } from '../line/settings.js';
import type { CommandName } from '../options/spec.js';
import { answer, createWords, patienceMs, type Words } from '../process/console.js';
import { codeOfError, exitCodeOf, isOurMistake } from '../process/exit-code.js';
import { noticeSignal } from '../process/notice-signal.js';
import { type SignalWatch, watchSignals } from '../process/signals.js';
import { giveBack, type Start, takeStart } from '../process/start.js';
import { packageVersion } from '../process/version.js';
import { describeError, SignalException } from '../text/errors.js';
import { createPrinter, type Printer, type PrinterOptions } from '../text/print.js';
import { launchBanner } from '../text/torchrun-text.js';

/** The whole command: parse, launch, print, exit code. */
export async function runCommand(command: CommandName): Promise<void> {
  const start = takeStart(command);
  const signals = watchSignals(start.ignored);
  const words = createWords();
  process.on('uncaughtException', error => endAtOnce(command, error, words));
  const { args, env } = start;
  const warning = command === 'regroup-launch' ? deprecation : '';

  if (command === 'regroup' && args[0] === 'topology') {
    const { runTopology } = await import('./topology.js');
    return report(command, answer, () => runTopology(args.slice(1), env));
  }
  if (command === 'regroup' && args[0] === 'bench') {
    const { runBench } = await import('./bench.js');
    return report(command, answer, () => runBench(args.slice(1), env, signals));
  }
  if (command === 'regroup' && args[0] === 'timeline') {
    const { runTimeline } = await import('./timeline.js');
    return report(command, answer, () => runTimeline(args.slice(1)));
  }
  if (command === 'regroup' && args[0] === 'rendezvous-agent') {
    const { runRendezvousAgent } = await import('./rendezvous-agent.js');
    signals.onSignal(() => {}); // it ends with whoever has started it, who gets the same signals
    return report(command, answer, () => runRendezvousAgent(args.slice(1), env));
  }
  const order = command === 'regroup' ? controlCommands.find(name => name === args[0]) : undefined;
  if (order !== undefined) {
    const { runControl } = await import('./control.js');
    return report(command, answer, () => runControl(order, args.slice(1), env));
  }
  const parsed = parseCommand(command, args, env, here);
  if (parsed.do !== 'run') await answer(2, warning);
  switch (parsed.do) {
    case 'run': {
      const settings = withoutIgnored(parsed.settings, start.ignored);
      words.say(2, warning);
      return runJob(command, parsed.options, settings, { start, signals, words });
    }
    case 'dry-run': {
      const settings = withoutIgnored(parsed.settings, start.ignored);
      const { dryRunText } = await import('../text/dry-run.js');
      const notices: string[] = [];
      const printer = printerFor(parsed.options, settings, text => notices.push(text));
      if (looksAtGpus(parsed.options)) await learnGpus(env);
      return report(command, answer, async () => {
        const { text, warnings } = dryRunText(parsed.options, settings);
        for (const warning of warnings) printer.log('WARNING', warning);
        await answer(2, notices.join(''));
        await answer(1, text);
      });
    }
    case 'help': {
      const { helpText } = await import('../text/help.js');
      return answer(1, helpText(command));
    }
    case 'version':
      return answer(1, `regroup ${packageVersion()}\n`);
    case 'error':
      process.exitCode = parsed.exitCode;
      return answer(2, `${parsed.text}\n`);
    default:
      return unreachable(parsed);
  }
}

/** @source pytorch v2.13.0, torch/distributed/launch.py, main */
const deprecation =
  'FutureWarning: The module torch.distributed.launch is deprecated\n' +
  'and will be removed in future. Use torchrun.\n' +
  'Note that --use-env is set by default in torchrun.\n' +
  'If your script expects `--local-rank` argument to be set, please\n' +
  "change it to read from `os.environ['LOCAL_RANK']` instead. See \n" +
  'https://pytorch.org/docs/stable/distributed.html#launch-utility for \n' +
  'further instructions\n';

/** What a command that runs a job has from its first moment on. */
interface Own {
  readonly start: Start;
  readonly signals: SignalWatch;
  readonly words: Words;
}

/** How a signal ends the run: passed on with exit code 1, or by our own death of it. */
type Ending = { readonly by: 'forwarding' | 'dying'; readonly signal: NodeJS.Signals };

async function runJob(
  command: CommandName,
  options: LaunchOptions,
  settings: CliSettings,
  { start, signals, words }: Own,
): Promise<void> {
  let logFiles: PrinterOptions['logFiles'] = () => undefined;
  const printer = printerFor(
    options,
    settings,
    text => words.say(2, text),
    worker => logFiles(worker),
  );
  // Until there's a result nothing has succeeded, whatever ends the loop.
  process.exitCode = 1;
  let ending: Ending | undefined;
  await report(
    command,
    words.say,
    async () => {
      giveBack(start, settings.namedSignals);
      const run = launch(options);
      logFiles = run.logFiles;
      beInit();
      const { interpreter } = run.description;
      if (interpreter?.warning !== undefined) printer.log('WARNING', interpreter.warning);
      signals.add(settings.signalsToHandle);
      signals.add(settings.namedSignals);
      const preempts = noticeSignal(options.preemptSignal, settings.signalsToHandle);
      signals.onSignal(signal => {
        if (preempts?.takes(signal, performance.now())) return run.preempt('signal');
        if (settings.forwardSignals.includes(signal)) return run.forward(signal);

        const isHandled = settings.signalsToHandle.includes(signal);
        ending ??= { by: isHandled ? 'forwarding' : 'dying', signal };
        void run.stop(isHandled ? signal : 'SIGTERM'); // never rejects for a signal's name
        if (isHandled) {
          printer.log(
            'WARNING',
            `Received ${signalNumber(signal)} death signal, shutting down workers`,
          );
        }
      });

      sleepSoundly();
      const banner = (): void => logBanner(run.description, settings, start.ignored, printer);
      const printed = printEvents(run, banner, printer);
      const [result] = await Promise.all([run.result, printed]);
      process.exitCode = exitCodeOf(result, settings.exitCode);
      tell(result, run.description, options, printer, ending);
    },
    options.errorFile,
  );
  await waitForReaders(words, printer, signals, ending);
  // Whatever it was that the run came to: who sent this signal expects us to die of it.
  if (ending?.by === 'dying') return signals.dieBy(ending.signal);
  // No worker, file or port is left that a cleanup hook would have to see to.
  exitNow(Number(process.exitCode));
}

/** Waits until what workers and we have said is read, or nobody reads it. A signal ends the wait. */
async function waitForReaders(
  words: Words,
  printer: Printer,
  signals: SignalWatch,
  ending: Ending | undefined,
): Promise<void> {
  signals.onSignal(words.hurry);
  const brief = { linesMs: patienceMs };
  const unread = await words.written(ending === undefined ? undefined : brief);
  if (unread === 0) return;
  // stderr may have a reader, though stdout has none.
  printer.log(
    'WARNING',
    `${unread} lines of the workers' output were not read; the log files have them`,
  );
  await words.written(brief);
}

/** Whether a plan tells which GPU each worker has. */
function looksAtGpus({ placement, gpuPerRank }: LaunchOptions): boolean {
  return placement !== undefined || gpuPerRank === true;
}

/**
 * V8 collects garbage in sixty steps, eight seconds after a program has come to rest, to give back a
 * megabyte. Workers have a better use for the core; with this only its timer wakes us, once. Not before
 * they're starting: it costs 2 ms.
 */
function sleepSoundly(): void {
  process.getBuiltinModule('node:v8').setFlagsFromString('--no-incremental-marking');
}

/** Reaps orphans as process 1 of a container, which inherits whatever loses its parent. */
function beInit(): void {
  if (process.pid === 1) process.on('SIGCHLD', reapOrphans);
}

function printerFor(
  options: LaunchOptions,
  settings: CliSettings,
  write: (text: string) => void,
  logFiles: PrinterOptions['logFiles'] = () => undefined,
): Printer {
  const { role = 'default', maxRestarts = 0 } = options;
  const printer = createPrinter({
    logLevel: settings.logLevel,
    role,
    maxRestarts,
    hasPolicy: hasPolicy(options),
    ompIsUnset: options.env?.OMP_NUM_THREADS === undefined && !options.placement?.ompPlaces,
    pid: process.pid,
    logFiles,
    logsInTemp: options.logDir === undefined,
    write,
    now: () => new Date(),
  });
  for (const { level, text } of settings.notices) printer.log(level, text);
  return printer;
}

/** Whether there are failure rules: then what follows from a failure is known at a round's end only. */
function hasPolicy(options: LaunchOptions): boolean {
  return Object.keys(failureChecks).some(name => name in options);
}

function bannerOf(settings: CliSettings, { runId, runFolder }: RunDescription): string {
  const decided = new Map([
    ['run_id', runId],
    ['log_dir', runFolder],
  ]);
  return launchBanner(
    settings.banner.map(([name, value]) => [name, value || (decided.get(name) ?? 'None')]),
  );
}

/** The banner comes before the first event, or alone: by then it's known what chance has decided. */
async function printEvents(run: Run, banner: () => void, printer: Printer): Promise<void> {
  let isFirst = true;
  for await (const event of run.events()) {
    if (isFirst) banner();
    isFirst = false;
    printer.event(event);
  }
  if (isFirst) banner();
}

/** @param ignored signals that the caller ignores */
function logBanner(
  description: RunDescription,
  settings: CliSettings,
  ignored: readonly string[],
  printer: Printer,
): void {
  if (settings.logLevel > logLevels.INFO) return;
  printer.log('INFO', bannerOf(settings, description));
  if (ignored.length > 0)
    printer.log('INFO', `ignored when we were started: ${ignored.join(', ')}`);
  const { bindings = [], runFolder } = description;
  if (runFolder !== undefined) printer.log('INFO', `logs: ${runFolder}`);
  for (const [rank, binding] of bindings.entries())
    printer.log('INFO', `worker ${rank}: ${binding}`);
}

/** The last words. */
function tell(
  result: RunResult,
  description: RunDescription,
  options: LaunchOptions,
  printer: Printer,
  ending: Ending | undefined,
): void {
  const { name, binary, isFunction, interpreter } = description;
  switch (result.outcome) {
    case 'succeeded':
      printer.succeeded();
      return;
    case 'failed': {
      const { startMethod = 'spawn' } = options;
      const run = { name, binary, interpreter, ...(isFunction ? { startMethod } : {}) };
      printer.ended(result);
      printer.failed(run, result.rootCause, result.failures, Number(process.exitCode));
      return;
    }
    case 'preempted':
      printer.preempted(result.failures, Number(process.exitCode));
      return;
    case 'stopped': {
      if (ending?.by === 'dying') return;
      throw new SignalException(signalNumber(result.signal) ?? 0);
    }
    default:
      unreachable(result);
  }
}

/**
 * Does it, and turns whatever is thrown into one line on stderr and an exit code.
 *
 * @param errorFile is told as well, as torchrun's main is `record`ed
 */
async function report(
  command: CommandName,
  say: (fd: 2, text: string) => void | Promise<void>,
  action: () => void | Promise<void>,
  errorFile?: string,
): Promise<void> {
  try {
    await action();
  } catch (caught) {
    const error = shortageError(caught);
    // How a signal ended the run has decided its exit code already.
    if (!(error instanceof SignalException)) {
      process.exitCode = codeOfError(error);
    }
    await say(2, `${describeError(command, error)}\n`);
    if (errorFile === undefined || !(error instanceof Error)) return;

    const { recordError } = await import('../../failures/own-error-file.js');
    const problem = await recordError(error, errorFile);
    if (problem !== undefined) await say(2, `${command}: ${problem}\n`);
  }
}

/**
 * Our own mistake, or a machine that has run out of something, and nobody knows in which state we are. The addon's `exit`
 * listener kills the workers; its cleanup hooks wouldn't run after an uncaught exception anyway.
 */
function endAtOnce(command: CommandName, caught: unknown, words: Words): never {
  const error = shortageError(caught);
  words.say(2, `${describeError(command, error)}\n`);
  words.writtenNow();
  process.exit(isOurMistake(error) ? exitCodes.internal : exitCodes.failed);
}
