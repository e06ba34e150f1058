import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { RegroupError } from '../../errors.js';
import type { Settings } from '../../options/launch-options.js';
import type { StockMet } from '../../rendezvous/met.js';
import { stateKey } from '../../rendezvous/stock/state.js';
import { type ConnectOptions, connectStore } from '../../store/client.js';
import type { StoreClient } from '../../store/store.js';
import type { Dialect } from '../../store/wire.js';
import { type Address, isLoopback } from '../../util/address.js';
import { findOwnAddress } from '../own-address.js';

/** How long the search may take to connect. */
const answerMs = 5_000;
/** Between two attempts to come to a store. */
const againMs = 500;
/** For all later calls, as PyTorch's agents have it: the store may stand still. @source c10d_rendezvous_backend.py, read_timeout */
const callMs = 60_000;
/** Nobody has answered, or not to the end. */
const mayCome: readonly string[] = ['ERR_STORE_CONNECT', 'ERR_STORE_LOST', 'ERR_STORE_TIMEOUT'];
/** For an answer in a dialect that PyTorch's server doesn't speak, at least, and how often it's asked. */
const strangeMs = 1_000;
const strangeAttempts = 3;

/**
 * PyTorch's own store at an endpoint where nobody answers our greeting. Agents of torchrun write the job's key there
 * before all else; who has none is somebody else, or a server of ours without room.
 *
 * @returns undefined where it's none
 * @throws ERR_OPTION
 */
export async function findStock(
  settings: Settings,
  at: Required<Address>,
  signal: AbortSignal,
): Promise<StockMet | undefined> {
  const client = await clientOf(at, stateKey(settings.runId ?? ''), signal);
  if (client === undefined) return undefined;
  try {
    return { stock: client, address: await addressFor(client, settings, at, signal) };
  } catch (error) {
    await client.close();
    if (error instanceof RegroupError) throw error;
    return undefined; // it has gone in between
  }
}

/** @throws ERR_OPTION; whatever breaks a connection */
async function addressFor(
  client: StoreClient,
  settings: Settings,
  at: Required<Address>,
  signal: AbortSignal,
): Promise<string> {
  const clues = {
    local: await localEnd(at, signal),
    interfaces: networkInterfaces(),
    endpointIsLoopback: isLoopback(at.host),
  };
  return findOwnAddress(client, settings, clues);
}

/**
 * The store that a job among agents of torchrun has at its endpoint, whoever serves it.
 *
 * @param refused called before each attempt: this node may serve it in place of another one
 * @param limit gives up
 * @throws ERR_OPTION; ERR_STORE_PROTOCOL where somebody answers who is no store; once `limit` has aborted, why nobody did
 */
export async function joinAt(
  settings: Settings,
  at: Required<Address>,
  limit: AbortSignal,
  refused: () => void,
): Promise<StockMet> {
  let why: unknown;
  for (;;) {
    refused();
    try {
      return await comeTo(settings, at, limit);
    } catch (error) {
      if (limit.aborted) throw why ?? error;
      if (error instanceof RegroupError && !mayCome.includes(error.code)) throw error;
      why = error;
    }
    await pause(againMs, undefined, { signal: limit }).catch(() => {}); // the next attempt says so
  }
}

/** @throws ERR_OPTION, ERR_STORE_CONNECT, ERR_STORE_PROTOCOL; whatever breaks a connection */
async function comeTo(
  settings: Settings,
  at: Required<Address>,
  limit: AbortSignal,
): Promise<StockMet> {
  // By the first one it's known why nobody answers, and later calls have more time than it.
  await (await connectStore({ ...at, timeoutMs: answerMs, signal: limit })).close();
  const soon = AbortSignal.any([limit, AbortSignal.timeout(answerMs)]);
  const client = await connectStore({ ...at, timeoutMs: callMs, signal: soon });
  try {
    return { stock: client, address: await addressFor(client, settings, at, soon) };
  } catch (error) {
    await client.close();
    throw error;
  }
}

async function clientOf(
  at: Required<Address>,
  key: string,
  signal: AbortSignal,
): Promise<StoreClient | undefined> {
  let client: StoreClient | undefined;
  try {
    const soon = AbortSignal.any([signal, AbortSignal.timeout(answerMs)]);
    client = await connectStore({ ...at, timeoutMs: callMs, signal: soon });
    const isKnown = await client.check(key, { signal: soon });
    if (isKnown && (await isStock(at, client.dialect, signal))) return client;
  } catch {
    // No store, or none any more.
  }
  await client?.close();
  return undefined;
}

/**
 * Whether it's PyTorch's: ours serves TCPStore as well, and an agent of torchrun that was led there has written the key. Each
 * release of PyTorch speaks one dialect, and ours all of them. It hangs up on others or says nothing, as ours may for want
 * of room or time, and so it must answer in between.
 */
async function isStock(
  at: Required<Address>,
  dialect: Dialect,
  signal: AbortSignal,
): Promise<boolean> {
  const strange = dialect === 'A' ? 'D' : 'A';
  let waitMs = strangeMs;
  for (let left = strangeAttempts; left > 0; left--) {
    if (await answers({ ...at, dialect: strange, timeoutMs: waitMs, signal })) return false;
    const beganMs = performance.now();
    if (!(await answers({ ...at, timeoutMs: answerMs, signal }))) return false; // 2.2 to 2.4 don't speak the whole of D
    waitMs = Math.max(strangeMs, 4 * (performance.now() - beganMs));
  }
  return true;
}

/** Whether a store is there. */
export async function answers(options: ConnectOptions): Promise<boolean> {
  try {
    const client = await connectStore(options);
    await client.close();
    return true;
  } catch {
    return false;
  }
}

/** This end of a connection to it. */
function localEnd({ host, port }: Required<Address>, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, autoSelectFamily: true, signal });
    socket.on('error', reject);
    socket.on('connect', () => {
      resolve(socket.localAddress ?? host);
      socket.destroy();
    });
  });
}
