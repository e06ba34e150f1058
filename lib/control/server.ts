import { createServer, type Socket } from 'node:net';
import { native } from '../native/addon.js';
import { isList, isWhole, recordIn } from '../options/checks.js';
import { boundConnections } from '../system/connections.js';
import { needPool } from '../system/pool.js';
import { atMost } from '../util/deferred.js';
import { codeOf } from '../util/errno.js';
import { randomName } from '../util/random.js';
import { controlFolders, leaveFolder, makeFolder, socketPath } from './folder.js';
import type { ControlAnswer, ControlRequest } from './words.js';

/** The control socket of a run: who may use it, and what it costs. What is done is the agent's. */
export interface ControlServer {
  readonly path: string;
  /** Gives those that follow another status. */
  tell(): void;
  /** Resolves when the socket is gone. */
  close(): Promise<void>;
}

/** Protects the agent from whoever connects and says nothing; the one that came first makes room. */
const maxConnections = 32;
const maxRequestBytes = 16 * 1024;
/** From the connection to its request, and from the answer to its end. */
const patienceMs = 10_000;
/** Of statuses that who follows hasn't read: who stands still is left. */
const maxBehindBytes = 1024 * 1024;
/** An end of the run waits so long for answers that are under way, `stop`'s too. */
const farewellMs = 500;

/** What a control socket leads to. */
export interface ControlService {
  status(): ControlAnswer;
  perform(
    request: Exclude<ControlRequest, { do: 'status' | 'follow' }>,
  ): ControlAnswer | Promise<ControlAnswer>;
}

/**
 * Serves requests of this user's processes.
 *
 * @param env names the folder
 * @param serves `status` is at once; `perform` does all else, and never rejects
 * @throws with a text for people, where there can't be a socket
 */
export async function serveControl(
  env: Readonly<Record<string, string | undefined>>,
  serves: ControlService,
): Promise<ControlServer> {
  try {
    needPool();
  } catch (error) {
    throw new Error(`no thread can be had to look at the socket's folder: ${codeOf(error)}`);
  }
  const [folder = ''] = await controlFolders(env); // never empty
  const path = socketPath(folder, process.pid, randomName(6, 'abcdefghijklmnopqrstuvwxyz'));
  /** Those that have asked, and their answers. */
  const answers = new Map<Socket, Promise<void>>();
  const followers = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, socket => {
    socket.on('close', () => {
      answers.delete(socket);
      followers.delete(socket);
    });
    serve(socket, serves, {
      onAsked: said => answers.set(socket, said),
      onFollows: () => followers.add(socket),
    });
  });
  server.unref();
  const sockets = boundConnections(server, { most: maxConnections });

  const listen = (): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, () => {
        server.off('error', reject);
        server.on('error', () => {}); // no descriptor for somebody who connects; others go on
        resolve();
      });
    });
  await makeFolder(folder);
  try {
    // The folder goes with the last run that had its socket there, which may have been this moment.
    await listen().catch(() => makeFolder(folder).then(listen));
  } catch (error) {
    throw new Error(`no socket can be had at ${path}: ${codeOf(error) ?? error}`);
  }
  return {
    path,
    tell() {
      for (const follower of followers) {
        if (follower.writableLength > maxBehindBytes) follower.destroy();
        else follower.write(lineOf(serves.status()));
      }
    },
    async close() {
      for (const follower of followers) follower.end();
      for (const socket of sockets) if (!answers.has(socket)) socket.destroy();
      // Removes the socket, too.
      const closed = new Promise(resolve => server.close(resolve));
      await atMost(farewellMs, Promise.all(answers.values()));
      for (const socket of sockets) socket.destroy();
      await closed;
      await leaveFolder(folder);
    },
  };
}

function serve(
  socket: Socket,
  { status, perform }: ControlService,
  heard: { onAsked(said: Promise<void>): void; onFollows(): void },
): void {
  let timer = setTimeout(() => socket.destroy(), patienceMs).unref();
  let text = '';
  const answer = (said: ControlAnswer): void => {
    clearTimeout(timer);
    timer = setTimeout(() => socket.destroy(), patienceMs).unref();
    socket.end(lineOf(said));
  };
  async function onLine(line: string): Promise<void> {
    clearTimeout(timer);
    socket.off('data', onData);
    socket.resume();
    heard.onAsked(new Promise(resolve => socket.once('finish', resolve).once('close', resolve)));
    const request = requestOf(line);
    if (request === undefined) return answer({ ok: false, why: 'that is no request' });
    switch (request.do) {
      case 'status':
        return answer(status());
      case 'follow':
        socket.on('end', () => socket.destroy());
        socket.write(lineOf(status()));
        return heard.onFollows();
      default:
        return answer(await perform(request));
    }
  }
  function onData(more: string): void {
    text += more;
    const end = text.indexOf('\n');
    if (end >= 0)
      void onLine(text.slice(0, end)); // never rejects, as `perform` doesn't
    else if (text.length > maxRequestBytes) socket.destroy();
  }

  socket.on('error', () => {}); // its asker has gone
  socket.on('close', () => clearTimeout(timer));
  if (!isOurUser(socket)) {
    socket.destroy();
    return;
  }
  socket.setEncoding('utf8').on('data', onData);
}

function lineOf(said: ControlAnswer): string {
  return `${JSON.stringify(said)}\n`;
}

/** Whoever has got past the folder's mode is still nobody to us, but for this very user. */
function isOurUser(socket: Socket): boolean {
  // Node tells a socket's descriptor nowhere else.
  const { fd } = (socket as unknown as { _handle?: { fd?: number } })._handle ?? {};
  if (fd === undefined || fd < 0) return false;
  try {
    return native().peerOf(fd).uid === process.geteuid?.();
  } catch {
    return false; // gone this moment
  }
}

/** @returns undefined for what's none, also of a newer release */
function requestOf(line: string): ControlRequest | undefined {
  const value = recordIn(line);
  if (value === undefined) return undefined;
  const { do: what, ranks } = value;
  switch (what) {
    case 'status':
    case 'follow':
    case 'stop':
    case 'drain':
    case 'restart':
      return { do: what };
    case 'dump': {
      if (ranks === undefined) return { do: what };
      const isFine = isList(ranks) && ranks.every(rank => isWhole(rank, 0));
      return isFine ? { do: what, ranks: ranks as number[] } : undefined; // isWhole has just told
    }
    default:
      return undefined;
  }
}
