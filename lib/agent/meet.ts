import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { CoordinationError } from '../coordination/coordination.js';
import type { LinkTo } from '../coordination/link.js';
import { connectServer, type ServerCoordination } from '../coordination/server.js';
import { launchError, onMachine, RegroupError } from '../errors.js';
import { native } from '../native/addon.js';
import type { Settings } from '../options/launch-options.js';
import { isHostOf, isOwn } from '../rendezvous/endpoint.js';
import { checkInterface } from '../rendezvous/interface.js';
import type { Met, StockMet } from '../rendezvous/met.js';
import { hostname } from '../system/hostname.js';
import { addressesOf } from '../system/names.js';
import { needPool } from '../system/pool.js';
import { type Address, addressOf, isLoopback } from '../util/address.js';
import { codeOf } from '../util/errno.js';
import type { Core } from './core.js';
import { findOwnAddress } from './own-address.js';

/** How long one attempt to reach the endpoint takes, and each call later on. */
const attemptMs = 5_000;
/** Between two attempts to serve a port that another process has, though it refuses. */
const takeOverGapMs = 5_000;
/** For our own server to answer, before somebody else is thought of, and from then on between two looks for him. */
const strangerMs = 1_000;
/** The same where the job has a token, of which PyTorch's agents know nothing: it's for the sentence that says so. */
const tokenStrangerMs = 10_000;
/** Limit of looking for who has the port: it's for an error's text only. */
const holderMs = 500;

/**
 * Reaches the endpoint that a job's nodes meet at, and serves it where this node is the one. With c10d it may be that of agents
 * of torchrun.
 *
 * @param core what the addon does of it
 * @param signal gives up
 * @throws ERR_RENDEZVOUS where it can't be reached in time, or something else answers there; ERR_PORT, ERR_MACHINE
 */
export async function meet(
  settings: Settings,
  { host, port }: Required<Address>,
  core: Pick<Core, 'serve' | 'keepLease'>,
  signal: AbortSignal,
): Promise<Met | StockMet> {
  const { joinTimeoutMs, interface: name, isHost, token } = settings;
  // By a name, another server may be found elsewhere while the address of the one before still refuses.
  const refusalsMs = isIP(host) === 0 ? 0 : joinTimeoutMs;
  const late = AbortSignal.timeout(joinTimeoutMs);
  const limit = AbortSignal.any([signal, late]);
  onMachine("can't look up the endpoint", needPool);
  const interfaces = networkInterfaces();
  if (name !== undefined) checkInterface(name, interfaces);
  const isOurs = await isHostOf(host, {
    isHost,
    interfaces,
    hostname: hostname(),
    resolve: addressesOf,
    pause: (ms, signal) => pause(ms, undefined, { signal }),
    signal: limit,
  });
  signal.throwIfAborted();
  let isServed = isOurs && tryToServe(() => core.serve(port), isHost === true);
  let nextTakeOverMs = 0;
  /** Another agent of this node had the server, perhaps one of another job, and is gone. */
  const takeOver = (): void => {
    // Whoever has the port is looked for, which takes time, in vain as a rule.
    if (!isOurs || isServed || performance.now() < nextTakeOverMs) return;
    nextTakeOverMs = performance.now() + takeOverGapMs;
    try {
      isServed = tryToServe(() => core.serve(port), false);
    } catch {
      // Whoever comes next may serve it: until then it's as if this node weren't the one.
    }
  };
  try {
    if (settings.amongTorchrun) {
      const { joinAt } = await import('./stock/find.js'); // few need it
      return await joinAt(settings, { host, port }, limit, takeOver);
    }
    const stock = (signal: AbortSignal): Promise<StockMet | undefined> =>
      stockAt(settings, { host, port }, signal);
    const reached = await reach({ host, port, token }, limit, takeOver, stock);
    if ('stock' in reached) return reached;
    const coordination = reached;
    const { local, remote } = coordination.ends();
    const clues = { local, interfaces, endpointIsLoopback: isLoopback(host) };
    const address = await findOwnAddress(coordination, settings, clues);
    // The name may lead to another machine by then.
    const keep: Met['keep'] = ({ id: lease, ttlMs }, marginMs, told) => {
      const server = { host: coordination.ends().remote, port };
      return core.keepLease({ ...server, lease, ttlMs, marginMs, refusalsMs }, told);
    };
    const kept = refusalsMs === 0 ? {} : { keptMs: refusalsMs };
    return {
      coordination,
      address,
      isHost: () => isServed,
      isHere: isServed && (isLoopback(remote) || isOwn(remote, interfaces)),
      keep,
      ...kept,
    };
  } catch (error) {
    const isStores = error instanceof RegroupError && error.code.startsWith('ERR_STORE_');
    const isOptions = error instanceof RegroupError && !isStores;
    const isServers = isStores || error instanceof CoordinationError;
    if (isOptions || signal.aborted || (!late.aborted && !isServers)) throw error;
    const whose = (): string => (isOurs && !isServed ? holderOf(port) : '');
    throw launchError('ERR_RENDEZVOUS', [unreached(settings, host, port, error, whose)], error);
  }
}

/** Whoever has the port that this node would serve, as it's said behind a reason. This waits for it. */
function holderOf(port: number): string {
  const holder = native().portHolder(port, holderMs);
  return holder === undefined ? '' : `; here ${holder.command} (pid ${holder.pid}) has that port`;
}

/** Another agent on this node may serve it already, unless it's said to be this one's. */
function tryToServe(serve: () => void, isCertain: boolean): boolean {
  try {
    serve();
    return true;
  } catch (error) {
    const isTaken = error instanceof RegroupError && codeOf(error.cause) === 'EADDRINUSE';
    if (isTaken && !isCertain) return false;
    throw error;
  }
}

async function reach(
  to: LinkTo,
  limit: AbortSignal,
  refused: () => void,
  stock: (signal: AbortSignal) => Promise<StockMet | undefined>,
): Promise<ServerCoordination | StockMet> {
  const over = new AbortController();
  const signal = AbortSignal.any([limit, over.signal]);
  const ours = reachOurs(to, refused, signal);
  // PyTorch's servers hang up on our greeting, or wait for the rest of it.
  const other = lookBeside(stock, to.token === undefined ? strangerMs : tokenStrangerMs, signal);
  let reached: ServerCoordination | StockMet | undefined;
  try {
    reached = await Promise.race([ours, other]);
    return reached;
  } finally {
    over.abort();
    // Both may have come at once; a failure of the one that isn't needed is none.
    ours.then(late => (late === reached ? undefined : late.close())).catch(() => {});
    other.then(late => (late === reached ? undefined : late.stock.close())).catch(() => {});
  }
}

/** Tries until something answers that isn't to be asked again. */
async function reachOurs(
  to: LinkTo,
  refused: () => void,
  signal: AbortSignal,
): Promise<ServerCoordination> {
  for (;;) {
    try {
      const nowMs = (): number => native().boottimeMs();
      return await connectServer({ ...to, timeoutMs: attemptMs, refused, nowMs, signal });
    } catch (error) {
      const mayCome = error instanceof CoordinationError && error.code === 'UNAVAILABLE';
      if (!mayCome || signal.aborted) throw error;
    }
  }
}

/** Looks for PyTorch's store while our server doesn't answer. Never settles where there's none. */
async function lookBeside(
  stock: (signal: AbortSignal) => Promise<StockMet | undefined>,
  pauseMs: number,
  signal: AbortSignal,
): Promise<StockMet> {
  while (!signal.aborted) {
    await pause(pauseMs, undefined, { signal }).catch(() => {}); // the loop ends by it
    const found = signal.aborted ? undefined : await stock(signal);
    if (found !== undefined && !signal.aborted) return found;
    await found?.stock.close();
  }
  return new Promise(() => {});
}

/** PyTorch's own store, if it's that which is there. Ranks that are given need none. */
async function stockAt(
  settings: Settings,
  at: Required<Address>,
  signal: AbortSignal,
): Promise<StockMet | undefined> {
  if (settings.rdzvBackend !== 'c10d') return undefined;
  const { findStock } = await import('./stock/find.js'); // few need it
  return findStock(settings, at, signal);
}

function unreached(
  settings: Settings,
  host: string,
  port: number,
  error: unknown,
  whose: () => string,
): string {
  const { joinTimeoutMs } = settings;
  const why = error instanceof Error ? error.message : String(error);
  const isCoordination = error instanceof CoordinationError && error.code === 'PROTOCOL';
  if (isCoordination || (error instanceof RegroupError && error.code === 'ERR_STORE_PROTOCOL'))
    return `${why}${whose()}; is --rdzv-endpoint the address and port of the node that serves it?`;
  if (error instanceof CoordinationError && ['DENIED', 'VERSION'].includes(error.code)) return why;
  return `no node serves ${addressOf(host, port)}, tried for ${joinTimeoutMs / 1000} s: ${why}${whose()}; it is served by the node whose name or address it is, or the one with --rdzv-conf is_host=1`;
}
