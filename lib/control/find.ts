import { readdir, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { isAlive } from '../system/alive.js';
import { codeOf } from '../util/errno.js';
import { agentOf, checkFolder, controlFolders, leaveFolder } from './folder.js';
import type { ControlAnswer, ControlRequest, RunStatus } from './words.js';

/** The runs of this user on this machine, as their sockets tell. */
export interface FoundRun {
  readonly socket: string;
  /** The agent's pid, in its own namespace. */
  readonly pid: number;
  /** Absent: its agent doesn't answer. */
  readonly status?: RunStatus;
}

/** An agent that answers nothing for so long has another trouble. */
const statusMs = 5000;
/** More than any status of a node's workers has. */
const maxAnswerBytes = 64 * 1024 * 1024;

/**
 * Every run that has a socket. Those of agents that are gone are removed.
 *
 * @throws with a text for people, where the folder that a run with this environment would use isn't this user's
 */
export async function findRuns(
  env: Readonly<Record<string, string | undefined>>,
): Promise<FoundRun[]> {
  const [own = '', ...others] = await controlFolders(env); // never empty
  const ofOthers = others.map(folder => findIn(folder).catch(() => [])); // it has no run of ours
  const found = await Promise.all([findIn(own), ...ofOthers]);
  return found.flat().sort((one, other) => one.pid - other.pid);
}

async function findIn(folder: string): Promise<FoundRun[]> {
  if (!(await checkFolder(folder))) return [];
  const names = await readdir(folder).catch(() => []); // gone this moment
  const found = await Promise.all(names.map(name => look(folder, name)));
  const runs = found.filter(run => run !== undefined);
  if (runs.length < found.length) await leaveFolder(folder);
  return runs;
}

async function look(folder: string, name: string): Promise<FoundRun | undefined> {
  const pid = agentOf(name);
  if (pid === undefined) return undefined;
  const socket = `${folder}/${name}`;
  try {
    const answer = await ask(socket, { do: 'status' }, statusMs);
    return { socket, pid, ...('status' in answer ? { status: answer.status } : {}) };
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT') return undefined;
    if (code !== 'ECONNREFUSED') return { socket, pid };
    // Nobody has it. Whoever is about to listen there is alive.
    if (!isAlive(pid)) await unlink(socket).catch(() => undefined); // somebody else has
    return undefined;
  }
}

/** A run's status now, and whenever a round has started; it ends with the run. */
export async function* follow(socket: string): AsyncGenerator<ControlAnswer, undefined> {
  // Whoever was left for others that connect begins anew.
  for (let isServed = true; isServed; ) {
    isServed = false;
    for await (const line of linesOf(socket, { do: 'follow' })) {
      isServed = true;
      yield JSON.parse(line) as ControlAnswer; // our own agent's
    }
  }
}

/** What a run answers, in whole lines, until it or its agent ends; none where it's gone. */
async function* linesOf(
  socket: string,
  request: ControlRequest,
): AsyncGenerator<string, undefined> {
  const peer = connect(socket);
  peer.setEncoding('utf8').write(`${JSON.stringify(request)}\n`);
  let text = '';
  try {
    for await (const piece of peer) {
      const lines = `${text}${piece}`.split('\n');
      text = lines.pop() ?? '';
      yield* lines;
    }
  } catch {
    // Its agent has ended, in whatever way.
  }
}

/**
 * Asks a run, and waits for its answer.
 *
 * @throws with `code`: ECONNREFUSED, ENOENT: it's gone; ETIMEDOUT; EPROTO: it's no answer
 */
export function ask(
  socket: string,
  request: ControlRequest,
  timeoutMs: number,
): Promise<ControlAnswer> {
  return new Promise((resolve, reject) => {
    const fail = (code: string): void => reject(Object.assign(new Error(code), { code }));
    const pieces: Buffer[] = [];
    let bytes = 0;
    const peer = connect(socket, () => peer.write(`${JSON.stringify(request)}\n`));
    const timer = setTimeout(() => {
      peer.destroy();
      fail('ETIMEDOUT');
    }, timeoutMs);
    peer.on('error', reject);
    peer.on('data', piece => {
      bytes += piece.length;
      pieces.push(piece);
      if (bytes > maxAnswerBytes) peer.destroy();
    });
    peer.on('close', () => {
      clearTimeout(timer);
      try {
        resolve(JSON.parse(Buffer.concat(pieces).toString('utf8')) as ControlAnswer); // our own agent's
      } catch {
        fail('EPROTO');
      }
    });
  });
}
