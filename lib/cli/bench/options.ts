import { parseArgs } from 'node:util';
import { acceptedDuration, parseDuration } from '../../util/duration.js';
import { didYouMean } from '../../util/nearest.js';

/** How a restart is brought about, in the order of the table. */
export const killKinds = ['sigkill', 'exit', 'sigsegv', 'agent'] as const;
export type KillKind = (typeof killKinds)[number];

/** What `regroup bench restart` was asked for. */
export interface BenchOptions {
  readonly kinds: readonly KillKind[];
  /** Kills of each kind, with each launcher. */
  readonly kills: number;
  /** A line that tells of a worker's step; absent: the restart's own line does, which is told at the store's first use. */
  readonly step?: RegExp;
  /** Command of another launcher, by words. */
  readonly against?: readonly string[];
  /** Time from a first step to the kill. */
  readonly afterMs: number;
  /** The most that a first step may take. */
  readonly timeoutMs: number;
  readonly svg?: string;
  readonly json?: string;
  /** The job: options and script, as for `regroup`. */
  readonly args: readonly string[];
}

export type BenchCommand =
  | { readonly do: 'run'; readonly options: BenchOptions }
  | { readonly do: 'help' }
  /** The command line is wrong: why, in one line. */
  | { readonly do: 'refuse'; readonly why: string };

const options = {
  kill: { type: 'string' },
  kills: { type: 'string' },
  step: { type: 'string' },
  against: { type: 'string' },
  after: { type: 'string' },
  timeout: { type: 'string' },
  svg: { type: 'string' },
  json: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

const maxKills = 1000;
/** Without a pattern nobody tells when imports are over. */
const defaultAfterMs = { withStep: 1000, without: 5000 } as const;
const defaultTimeoutMs = 300_000;

export function parseBench(argv: readonly string[]): BenchCommand {
  try {
    return parse(argv);
  } catch (error) {
    if (error instanceof Refusal) return { do: 'refuse', why: error.message };
    throw error;
  }
}

class Refusal extends Error {}

function refuse(why: string): never {
  throw new Refusal(why.replaceAll(/\s+/g, ' '));
}

function parse(argv: readonly string[]): BenchCommand {
  const [what, ...rest] = argv;
  if (what === undefined || what === '--help' || what === '-h') return { do: 'help' };
  if (what !== 'restart') refuse(`there is no benchmark ${what} (accepted: restart)`);
  const end = rest.indexOf('--');
  const own = end < 0 ? rest : rest.slice(0, end);
  const values = valuesIn(own);
  if (values.help === true) return { do: 'help' };
  const args = end < 0 ? [] : rest.slice(end + 1);
  if (args.length === 0) refuse("the job is missing: options and script, behind '--'");
  const step = stepOf(values.step);
  if (values.against !== undefined && step === undefined)
    refuse('--against needs --step: what another launcher restarts is seen by its output alone');
  const against = values.against?.trim().split(/\s+/);
  if (against?.[0] === '') refuse('--against: a command is missing');
  const afterMs =
    timeOf('after', values.after) ?? defaultAfterMs[step === undefined ? 'without' : 'withStep'];
  return {
    do: 'run',
    options: {
      kinds: kindsOf(values.kill ?? 'sigkill'),
      kills: killsOf(values.kills ?? '5'),
      ...(step === undefined ? {} : { step }),
      ...(against === undefined ? {} : { against }),
      afterMs,
      timeoutMs: timeOf('timeout', values.timeout) ?? defaultTimeoutMs,
      ...(values.svg === undefined ? {} : { svg: values.svg }),
      ...(values.json === undefined ? {} : { json: values.json }),
      args,
    },
  };
}

function valuesIn(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options, strict: true }).values;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const [, unknown] = /^Unknown option '(--[^']+)'/.exec(message) ?? [];
    const names = Object.keys(options).map(name => `--${name}`);
    if (unknown !== undefined)
      return refuse(`unknown option ${unknown}${didYouMean(unknown, names)}`);
    const [, argument] = /^Unexpected argument ('.*')\. /.exec(message) ?? [];
    if (argument !== undefined) return refuse(`unexpected ${argument}: the job comes behind '--'`);
    return refuse(message.split('\n')[0] ?? message);
  }
}

function kindsOf(list: string): KillKind[] {
  const names = list.split(',').map(name => name.trim());
  const unknown = names.find(name => !killKinds.some(kind => kind === name));
  if (unknown !== undefined)
    refuse(`--kill=${list}: there is no ${unknown || "''"} (accepted: ${killKinds.join(', ')})`);
  return killKinds.filter(kind => names.includes(kind));
}

function killsOf(text: string): number {
  const kills = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (kills < 1 || kills > maxKills)
    refuse(`--kills=${text}: not a number of kills (accepted: 1 to ${maxKills})`);
  return kills;
}

function stepOf(text: string | undefined): RegExp | undefined {
  if (text === undefined) return undefined;
  if (text === '') refuse('--step: an empty pattern fits every line');
  try {
    return new RegExp(text);
  } catch (error) {
    return refuse(`--step: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function timeOf(name: 'after' | 'timeout', text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = parseDuration(text);
  if (ms === undefined || (name === 'timeout' && ms === 0))
    return refuse(`--${name}=${text}: not a time (accepted: ${acceptedDuration})`);
  return ms;
}
