import { setTimeout as sleep } from 'node:timers/promises';
import { ask, findRuns, follow } from '../../control/find.js';
import type { ControlRequest, RunStatus } from '../../control/words.js';
import { codeOf } from '../../util/errno.js';
import { choose } from '../control/choose.js';
import { type ControlLine, parseControl } from '../control/line.js';
import { filesOf, type LogFile, type LogReader, logReader } from '../control/logs.js';
import type { ControlCommand } from '../control/names.js';
import type { Env } from '../options/spec.js';
import { answer } from '../process/console.js';
import { dumpText, runsText } from '../text/control.js';

const help = `usage: regroup ps [RUN] [--json]
       regroup logs [RUN] [--rank N,...] [--lines N] [--follow]
       regroup stop | restart | drain [RUN]
       regroup dump [RUN] [--rank N,...] [--json]

Looks at runs of regroup that this user has on this machine, and gives them orders, by the control
socket of each. RUN is a run's id, the beginning of it, or its agent's pid; not needed where there's
one run only.

  ps       this node's runs: round, restarts left, workers with their ranks and pids
  logs     the last lines that workers have written, as far as files have them
  stop     ends the run, as SIGTERM would
  restart  another round, gently; it costs no restart. Of jobs on one node
  dump     writes stacks of workers, and tells where they wait
  drain    this node leaves, as on a notice of preemption: its workers save and end

  --run-id ID        the same as RUN
  --json             print it as JSON
  --rank N,...       ranks, as 0,3-5 (default: all of this node)
  -n, --lines N      lines of each file; 0: as many as the last MiB has (default: 10)
  -f, --follow       go on with what is written, until the run ends
  -h, --help         print this and exit

Exit code 0 where it's done, 1 where it can't be, 2 for a wrong command line. A script called \`stop\`
or the like is started by \`regroup ./stop\`.
`;

/** Stacks take their time, bounded by the run's own limit. */
const answerMs = 120_000;
const followMs = 300;

/** `regroup ps` and the others. */
export async function runControl(
  command: ControlCommand,
  argv: readonly string[],
  env: Env,
): Promise<void> {
  const parsed = parseControl(command, argv);
  if (parsed.do === 'help') return answer(1, help);
  if (parsed.do === 'refuse') return fail(command, parsed.why, 2);
  try {
    await perform(command, parsed.line, env);
  } catch (error) {
    await fail(command, error instanceof Error ? error.message : String(error));
  }
}

function fail(command: ControlCommand, why: string, exitCode = 1): Promise<void> {
  process.exitCode = exitCode;
  return answer(2, `regroup ${command}: error: ${why}\n`);
}

async function perform(command: ControlCommand, line: ControlLine, env: Env): Promise<void> {
  const runs = await findRuns(env);
  if (command === 'ps' && line.run === undefined) {
    if (line.isJson) return answer(1, jsonOf(runs.map(({ pid, status }) => status ?? { pid })));
    return answer(1, runs.length === 0 ? '' : `${runsText(runs)}\n`);
  }
  const run = choose(runs, line.run);
  if ('why' in run) return fail(command, run.why);
  const { socket, status } = run;
  switch (command) {
    case 'ps':
      return answer(1, line.isJson ? jsonOf(status) : `${runsText([run])}\n`);
    case 'logs':
      return logs(socket, status, line);
    case 'dump':
      return dump(socket, line);
    default:
      return order(command, socket, status);
  }
}

function jsonOf(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

async function order(
  command: 'stop' | 'restart' | 'drain',
  socket: string,
  { runId }: RunStatus,
): Promise<void> {
  const said = await askIt(socket, { do: command });
  if (!said.ok) return fail(command, said.why);
  const does = { stop: 'stops', restart: 'begins another round', drain: 'leaves' }[command];
  await answer(1, `run ${runId} ${does}\n`);
}

async function dump(socket: string, { ranks, isJson }: ControlLine): Promise<void> {
  const said = await askIt(socket, { do: 'dump', ...(ranks === undefined ? {} : { ranks }) });
  if (!said.ok) return fail('dump', said.why);
  if (!('dump' in said)) return fail('dump', 'its agent is of another release');
  await answer(1, isJson ? jsonOf(said.dump) : `${dumpText(said.dump)}\n`);
}

async function askIt(socket: string, request: ControlRequest) {
  try {
    return await ask(socket, request, answerMs);
  } catch (error) {
    return { ok: false as const, why: `its agent doesn't answer: ${codeOf(error)}` };
  }
}

async function logs(
  socket: string,
  status: RunStatus,
  { ranks, lines, follows }: ControlLine,
): Promise<void> {
  if (filesOf(status, ranks).length === 0) {
    const why =
      'no file has the output of these workers: it goes where that of regroup goes; --tee or --redirects write files';
    return fail('logs', why);
  }
  const reader = logReader(lines);
  if (!follows) return answer(1, reader.read(filesOf(status, ranks)));
  await followLogs(socket, reader, ranks);
}

/** Each round's files are read to their end before the next one's are begun, and before this ends. */
async function followLogs(
  socket: string,
  reader: LogReader,
  ranks: readonly number[] | undefined,
): Promise<void> {
  const rounds = follow(socket);
  let files: readonly LogFile[] = [];
  for (let next = rounds.next(); ; ) {
    const started = await Promise.race([next, sleep(followMs, undefined, { ref: false })]);
    if (started === undefined) {
      await answer(1, reader.read(files));
      continue;
    }
    for (const text of reader.rest(files)) await answer(1, text);
    if (started.done) return;
    if (!('status' in started.value)) return fail('logs', 'its agent is of another release');
    files = filesOf(started.value.status, ranks);
    await answer(1, reader.read(files));
    next = rounds.next();
  }
}
