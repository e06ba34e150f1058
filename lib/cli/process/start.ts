import { writeFileSync } from 'node:fs';
import { isSecret } from '../../options/token.js';
import { startedWith } from '../../own-process.js';
import { exactArgs, exactEnv } from '../../system/exact.js';
import { signalName } from '../../util/signals.js';
import type { CommandName } from '../options/spec.js';
import { type FrontNote, isOfFront, readNote } from './front-note.js';
import { hideStderr } from './stderr.js';

/** What a command was started with: by the front program, or else by Node alone, which tells less. */
export interface Start extends FrontNote {
  /** Arguments without node and script. */
  readonly args: readonly string[];
}

/** Names the process for ps and pkill, and takes what the front program has handed over. */
export function takeStart(command: CommandName | 'regroup-store'): Start {
  nameProcess(command);
  // For good: node:net asks for it whenever a socket goes (Node 20).
  hideStderr();
  // Reading process.env costs a call each time; this is an object.
  const env = { ...exactEnv() };
  const start = { args: exactArgs(), ...readNote(env, process.pid) };
  // Whatever this process starts has its environment.
  for (const name of Object.keys(env))
    if (isOfFront(name) || isSecret(name)) delete process.env[name];
  // At once: a hang-up may come any moment.
  if (start.ignored.length > 0) stayIgnored(start);
  return start;
}

/**
 * Gives workers what Node has changed, and lets signals that were ignored stay so, here and there.
 *
 * @param named signals that an option names, which beats how they were
 * @throws ERR_NATIVE_MISSING
 */
export function giveBack(start: Start, named: readonly NodeJS.Signals[]): void {
  if (start.startedWith === undefined) return;
  const isNamed = (number: number): boolean => named.some(name => name === signalName(number));
  const ignoredSignals = start.startedWith.ignoredSignals.filter(number => !isNamed(number));
  startedWith({ ...start.startedWith, ignoredSignals });
}

function stayIgnored(start: Start): void {
  try {
    giveBack(start, []);
  } catch {
    // Without the addon nothing will be launched, and the launch says why.
  }
}

/** Names this process. Not by `process.title`, which would write over the arguments that ps shows. */
function nameProcess(name: string): void {
  try {
    writeFileSync('/proc/self/comm', name);
  } catch {
    // A name for people; without /proc it stays Node's.
  }
}
