import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Settings } from '../../options/launch-options.js';
import type { StockMet } from '../../rendezvous/met.js';
import { stateKey } from '../../rendezvous/stock/state.js';
import { connectStore } from '../../store/client.js';
import type { StoreClient } from '../../store/store.js';
import { type Address, isLoopback } from '../../util/address.js';
import { findOwnAddress } from '../own-address.js';

/** How long an answer may take. */
const answerMs = 5_000;

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
  const local = await localEnd(at, signal).catch(() => undefined); // it has gone in between
  if (local === undefined) {
    await client.close();
    return undefined;
  }
  const clues = {
    local,
    interfaces: networkInterfaces(),
    endpointIsLoopback: isLoopback(at.host),
  };
  return { stock: client, address: await findOwnAddress(client, settings, clues) };
}

async function clientOf(
  at: Required<Address>,
  key: string,
  signal: AbortSignal,
): Promise<StoreClient | undefined> {
  let client: StoreClient | undefined;
  try {
    client = await connectStore({ ...at, timeoutMs: answerMs, signal });
    if (await client.check(key, { signal })) return client;
  } catch {
    // No store, or none any more.
  }
  await client?.close();
  return undefined;
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
