import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { type Coordination, CoordinationError } from '../coordination/coordination.js';
import { connectEtcd, type EtcdOptions } from '../coordination/etcd.js';
import { launchError, onMachine } from '../errors.js';
import type { Settings } from '../options/launch-options.js';
import { checkInterface } from '../rendezvous/interface.js';
import type { Met } from '../rendezvous/met.js';
import { isHopeless } from '../rendezvous/table.js';
import { needPool } from '../system/pool.js';
import { type Address, addressOf, parseAddresses } from '../util/address.js';
import { findOwnAddress } from './own-address.js';

/** Between attempts to reach an etcd that isn't there yet. */
const retryMs = 500;

/**
 * Reaches the etcd that a job's nodes meet at. It may come later, within the join time-out.
 *
 * @param signal gives up
 * @throws ERR_RENDEZVOUS; ERR_MACHINE
 */
export async function meetAtEtcd(settings: Settings, signal: AbortSignal): Promise<Met> {
  const { rdzvEndpoint = '', joinTimeoutMs, interface: name } = settings;
  const limit = AbortSignal.any([signal, AbortSignal.timeout(joinTimeoutMs)]);
  const interfaces = networkInterfaces();
  if (name !== undefined) checkInterface(name, interfaces);
  const addresses = membersOf(rdzvEndpoint);
  onMachine("can't look up the endpoint", needPool);
  for (;;) {
    try {
      const { coordination, local } = await reach(addresses, etcdOptionsOf(settings, addresses));
      // Members on other machines may be reached through this one's loopback, too: no reason to be known by that.
      const clues = { local, interfaces, endpointIsLoopback: false };
      const address = await findOwnAddress(coordination, settings, clues);
      return { coordination, address, isHost: () => false };
    } catch (error) {
      if (!(error instanceof CoordinationError)) throw error;
      if (isHopeless(error)) throw launchError('ERR_RENDEZVOUS', [error.message], error);
      // It rejects if the limit aborts, which ends the loop.
      if (!limit.aborted) await pause(retryMs, undefined, { signal: limit }).catch(() => {});
      if (!limit.aborted) continue;
      const why = `no etcd answers at ${rdzvEndpoint}, tried for ${joinTimeoutMs / 1000} s: ${error.message}`;
      throw launchError('ERR_RENDEZVOUS', [why], error);
    }
  }
}

/**
 * Time-outs by which a member that's dead or frozen is left for the next one in time: a renewal asks three of them, and
 * three again, before the fence; any other call two. Pure.
 */
export function etcdOptionsOf(
  { etcd = {}, leaseMs }: Pick<Settings, 'etcd' | 'leaseMs'>,
  members: readonly Required<Address>[],
): EtcdOptions {
  const { protocol = 'http', user, ...files } = etcd;
  return {
    endpoints: members.map(({ host, port }) => `${protocol}://${addressOf(host, port)}`),
    ...(protocol === 'https' ? files : {}),
    user,
    timeoutMs: Math.min(Math.max(leaseMs / 4, 1_000), 5_000),
    renewTimeoutMs: Math.min(Math.max(leaseMs / 10, 200), 5_000),
    watchCheckMs: Math.min(Math.max(leaseMs / 4, 1_000), 5_000),
  };
}

/** A connection to etcd, and the local end of one to whichever member is there first. */
async function reach(
  members: readonly Required<Address>[],
  options: EtcdOptions,
): Promise<{ readonly coordination: Coordination; readonly local: string }> {
  const coordination = await connectEtcd(options);
  try {
    const ends = members.map(each => localEnd(each, options.timeoutMs ?? retryMs));
    return { coordination, local: await Promise.any(ends) };
  } catch (cause) {
    await coordination.close();
    const why = 'etcd answered once, and no member of it can be reached since';
    throw new CoordinationError('UNAVAILABLE', why, { cause });
  }
}

/** The local end of a connection to an address. Rejects where there's none in time. */
function localEnd({ host, port }: Required<Address>, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, autoSelectFamily: true });
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error('it does not answer')));
    socket.once('error', reject);
    socket.once('connect', () => {
      resolve(socket.localAddress ?? host);
      socket.destroy();
    });
  });
}

function membersOf(endpoint: string): readonly Required<Address>[] {
  const addresses = parseAddresses(endpoint);
  if (typeof addresses !== 'object') throw new Error(`${endpoint} has been checked`);
  return addresses.map(({ host, port = 2379 }) => ({ host, port }));
}
