import { writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { BenchError } from '../bench/job.js';
import { type Launcher, measure } from '../bench/measure.js';
import { type BenchOptions, parseBench } from '../bench/options.js';
import { pictureOf } from '../bench/picture.js';
import { jsonText, rowsOf, tableText, thisMachine, whole } from '../bench/report.js';
import type { Env } from '../options/spec.js';
import { answer } from '../process/console.js';
import type { SignalWatch } from '../process/signals.js';

const help = `usage: regroup bench restart [OPTIONS] -- ARGS...

Measures restarts of a job of yours on one node. ARGS is its command line, as behind \`regroup\`: options
and script. It's started, and killed in the ways of --kill once it has made a step, again and again.

  --kill KIND,...    what is killed, in turns (default: sigkill)
                       sigkill  a worker, by SIGKILL
                       exit     a worker, by SIGINT: Python leaves as at an exception
                       sigsegv  a worker, by SIGSEGV
                       agent    the launcher, by SIGKILL; the command is started again once all of it is gone
  --kills N          kills of each kind (default: 5)
  --step REGEX       a line that tells of a step, on stdout or stderr. The time is that from the kill to the
                     first such line of the next round. Without it what regroup tells of its restarts counts:
                     they end when the new round first uses its store
  --against COMMAND  another launcher with torchrun's command line, in the same turns; takes --step
  --after TIME       from a step to the kill (default: 1s; without --step from the workers' start, 5s)
  --timeout TIME     the most that a first step may take (default: 5m)
  --svg FILE         writes a picture
  --json FILE        writes all samples and figures
  --help             print this and exit

Each turn is a job of each launcher with one kill of each kind, so that noise meets all alike. Their TMPDIR is a
folder that is removed at the end. A script called \`bench\` is started by \`regroup ./bench\`.
`;

/** `regroup bench`. A signal ends it by that very signal, once nothing of what it has started is left. */
export async function runBench(
  argv: readonly string[],
  env: Env,
  signals: SignalWatch,
): Promise<void> {
  const parsed = parseBench(argv);
  switch (parsed.do) {
    case 'help':
      return answer(1, help);
    case 'refuse':
      process.exitCode = 2;
      return answer(2, `regroup bench: error: ${parsed.why}\n`);
    case 'run':
      return run(parsed.options, env, signals);
  }
}

async function run(options: BenchOptions, env: Env, signals: SignalWatch): Promise<void> {
  const abort = new AbortController();
  let by: NodeJS.Signals | undefined;
  signals.onSignal(signal => {
    by ??= signal;
    abort.abort();
  });
  try {
    const measured = await measure(
      options,
      launchersOf(options),
      { ...env },
      {
        signal: abort.signal,
        onBegun: ({ name }, turn) =>
          void answer(2, `turn ${turn + 1} of ${options.kills}: ${name} runs\n`),
        onSample: ({ name }, { kind, totalMs, problem = '' }) =>
          void answer(
            2,
            `${kind}, ${name}: ${totalMs === undefined ? `failed: ${problem}` : `${whole(totalMs)} ms`}\n`,
          ),
      },
    );
    const machine = thisMachine();
    const rows = rowsOf(options.kinds, measured);
    await answer(1, tableText(rows, options, machine));
    if (options.json !== undefined) write(options.json, jsonText(rows, measured, options, machine));
    if (options.svg !== undefined) write(options.svg, pictureOf(rows, machine));
  } catch (error) {
    if (by !== undefined) return signals.dieBy(by);
    if (!(error instanceof BenchError)) throw error;
    process.exitCode = 1;
    await answer(2, `regroup bench: error: ${error.message}\n`);
  }
}

function launchersOf({ against }: BenchOptions): Launcher[] {
  const own = [process.execPath, process.argv[1] ?? ''];
  const ours: Launcher = { name: 'regroup', command: own, isOurs: true };
  if (against === undefined) return [ours];
  const name = basename(against[0] ?? '');
  return [ours, { name, command: against, isOurs: false }];
}

function write(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw new BenchError(error instanceof Error ? error.message : String(error));
  }
}
