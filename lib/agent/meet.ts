import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Coordination } from '../coordination/coordination.js';
import { CoordinationError } from '../coordination/coordination.js';
import { connectServer } from '../coordination/server.js';
import { RegroupError } from '../errors.js';
import type { Settings } from '../options/launch-options.js';
import type { Met } from '../rendezvous/together.js';
import { hostname } from '../system/hostname.js';
import { type Address, isLoopback } from '../util/address.js';
import { codeOf } from '../util/errno.js';

/** How long one attempt to reach the endpoint takes, and each call later on. */
const attemptMs = 5_000;

/** Reaches the endpoint that a job's nodes meet at, and serves it where this node is the one. */
export async function meet(
  settings: Settings,
  { host, port }: Required<Address>,
  serve: (port: number) => void,
  signal: AbortSignal,
): Promise<Met> {
  const isHost = await isServed(settings, host, () => serve(port));
  const coordination = await reach(host, port, settings.joinTimeoutMs, signal);
  const address = settings.localAddr ?? (await localEnd(host, port));
  return { coordination, address, isHost };
}

async function reach(
  host: string,
  port: number,
  limitMs: number,
  signal: AbortSignal,
): Promise<Coordination> {
  const endMs = performance.now() + limitMs;
  for (;;) {
    const leftMs = endMs - performance.now();
    try {
      return await connectServer({
        host,
        port,
        timeoutMs: Math.max(1, Math.min(attemptMs, leftMs)),
      });
    } catch (error) {
      const isLate = signal.aborted || performance.now() >= endMs;
      const mayCome = error instanceof CoordinationError && error.code === 'UNAVAILABLE';
      if (mayCome && !isLate) continue;
      throw error;
    }
  }
}

/** The local end of a connection to the endpoint: what others reach this node at. */
function localEnd(host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, autoSelectFamily: true });
    socket.setTimeout(attemptMs, () => socket.destroy(new Error('it does not answer')));
    socket.once('error', reject);
    socket.once('connect', () => {
      resolve(socket.localAddress ?? host);
      socket.destroy();
    });
  });
}

async function isServed(settings: Settings, host: string, serve: () => void): Promise<boolean> {
  const { isHost } = settings;
  const own = Object.values(networkInterfaces()).flatMap(each => each?.map(one => one.address));
  const isOurs = isHost ?? (isLoopback(host) || host === hostname() || own.includes(host));
  if (!isOurs) return false;
  try {
    serve();
    return true;
  } catch (error) {
    // Another agent on this node may serve it, unless it was said to be this one.
    const isTaken =
      error instanceof RegroupError && codeOf(error.cause) === 'EADDRINUSE' && isHost !== true;
    if (isTaken) return false;
    throw error;
  }
}
