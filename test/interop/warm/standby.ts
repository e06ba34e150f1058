import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { Test } from 'tap';
import { type Act, type Learned, learnedFrom } from '../../../lib/preload/learned.js';
import {
  decodeMessages,
  encodeMessage,
  type Fields,
  learningEnv,
  type Message,
  standbyEnv,
} from '../../../lib/preload/standby.js';

// Interpreters started as standbys, as cold workers, and as workers that are learned from, all from the same program.

/** A program as a worker would run it. */
export interface Program {
  readonly python: string;
  /** Behind the interpreter, `-u` included where it's wanted. */
  readonly args: readonly string[];
  /** The worker's whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** A command in front that executes the rest. */
  readonly under?: readonly string[];
}

/** All that a program's end shows. */
export interface Shown {
  readonly stdout: readonly string[];
  readonly stderr: readonly string[];
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** The variables that a round gives its workers anew, as the tests use them. */
export const perRound = ['RANK', 'MASTER_PORT', 'TORCHELASTIC_RESTART_COUNT'] as const;

/** Runs a program cold. */
export function runCold(t: Test, program: Program): Promise<Shown> {
  return endOf(start(t, program, program.env));
}

/** Runs a program cold, with its imports recorded. */
export async function learn(
  t: Test,
  program: Program,
  file: string,
): Promise<{ readonly shown: Shown; readonly learned: Learned | undefined }> {
  writeFileSync(file, '');
  const { dev: device, ino: inode } = statSync(file);
  const record = { path: file, device, inode };
  const env = { ...program.env, ...learningEnv(program.env['PYTHONPATH'], record, ['OWN']) };
  const shown = await endOf(start(t, program, env));
  return { shown, learned: learnedFrom(readFileSync(file, 'utf8')) };
}

/** A started standby. */
export interface Standby {
  readonly pid: number;
  readonly socket: Duplex;
  /** Its next message; rejects if it ends without one. */
  message(): Promise<Message>;
  send(fields: Fields): void;
  readonly ended: Promise<Shown>;
}

/** Starts a standby and tells it what to import. @param env what differs from the worker's own environment */
export function startStandby(
  t: Test,
  program: Program,
  options: {
    readonly modules?: readonly string[];
    /** Beside these modules: what was learned. */
    readonly acts?: readonly Act[];
    readonly env?: Readonly<Record<string, string>>;
  },
): Standby {
  const env = { ...program.env, ...options.env };
  const child = start(t, program, { ...env, ...standbyEnv(env['PYTHONPATH'], 3) }, ['pipe']);
  const socket = child.stdio[3] as Duplex;
  // A standby that ends while we write; its end tells more.
  socket.on('error', () => {});
  const ended = endOf(child);
  const send = (fields: Fields) => void socket.write(encodeMessage(fields));
  send([
    ['type', 'prepare'],
    ['version', '1'],
    ...perRound.map(name => ['per-round', name] as const),
    ...(options.acts ?? []),
    ...(options.modules ?? []).map(name => ['module', name] as const),
  ]);
  return { pid: child.pid ?? 0, socket, message: messagesOf(socket, ended), send, ended };
}

/** What a launcher orders: the program's own environment and all that's checked. */
export function orderOf(program: Program, env = program.env): Fields {
  return [
    ['type', 'order'],
    ['version', '1'],
    ['cwd', program.cwd],
    ...[program.python, ...program.args].map(each => ['argv', each] as const),
    ...Object.entries(env).map(([name, value]) => ['env', `${name}=${value}`] as const),
  ];
}

/** The values of a key, as text. */
export function textsOf(message: Message, key: string): string[] {
  return (message.get(key) ?? []).map(String);
}

function start(
  t: Test,
  program: Program,
  env: Readonly<Record<string, string>>,
  more: readonly 'pipe'[] = [],
): ChildProcess {
  // tap adds variables of its own to what its tests spawn.
  const entries = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const command = ['/usr/bin/env', '-i', ...entries, program.python, ...program.args];
  const [file = '', ...args] = [...(program.under ?? []), ...command];
  const child = spawn(file, args, {
    cwd: program.cwd,
    stdio: ['ignore', 'pipe', 'pipe', ...more],
  });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

async function endOf(child: ChildProcess): Promise<Shown> {
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('latin1').on('data', (text: string) => {
      texts[name] += text;
    });
  }
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { stdout: texts.stdout.split('\n'), stderr: texts.stderr.split('\n'), code, signal };
}

function messagesOf(socket: Duplex, ended: Promise<Shown>): () => Promise<Message> {
  let bytes = Buffer.alloc(0);
  const messages: Message[] = [];
  let wake = () => {};
  socket.on('data', (part: Buffer) => {
    const decoded = decodeMessages(Buffer.concat([bytes, part]));
    if (decoded === 'malformed') return void socket.destroy();
    bytes = Buffer.from(decoded.rest);
    messages.push(...decoded.messages);
    wake();
  });
  return async () => {
    let end: Shown | undefined;
    const gone = ended.then(shown => {
      end = shown;
    });
    while (messages.length === 0) {
      if (end) throw new Error(`the standby ended: ${JSON.stringify(end).slice(0, 2000)}`);
      const more = new Promise<void>(resolve => {
        wake = resolve;
      });
      await Promise.race([more, gone]);
    }
    return messages.shift() as Message;
  };
}

/** Programs lie beside this file and aren't compiled. */
export const here = join(process.cwd(), 'test/interop/warm');
