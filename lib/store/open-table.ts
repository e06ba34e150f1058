import { launchError } from '../errors.js';
import { type NativeStore, type NativeStoreAddress, native } from '../native.js';
import { addressOf } from '../util/address.js';
import { codeOf } from '../util/errno.js';
import { portHolder } from './port-holder.js';

/** A store, for as many clients as this process may have descriptors. @throws ERR_NATIVE_MISSING */
export function createStore(
  options: { readonly disable: readonly string[]; readonly sharedMemory: boolean },
  onLog: (line: string) => void,
): NativeStore {
  native().raiseNofile();
  return native().createStore(options, onLog);
}

/**
 * Opens the table that a round's workers will meet in, at the job's master address.
 *
 * Workers on this node reach a loopback address by loopback only, so nobody else is served then.
 *
 * @throws ERR_PORT
 */
export function openTable(
  store: NativeStore,
  masterAddr: string,
  port: number,
): NativeStoreAddress {
  let failure: unknown;
  for (const hosts of hostsOf(masterAddr)) {
    try {
      return store.openTable({ hosts, port });
    } catch (error) {
      failure = error;
      // Fallback: kernels without IPv6.
      if (!['EAFNOSUPPORT', 'EADDRNOTAVAIL'].includes(codeOf(error) ?? '')) break;
    }
  }
  const why = portProblem(failure, masterAddr, port);
  throw launchError('ERR_PORT', [shownAddress(masterAddr, port), why], failure);
}

/**
 * Serves at a bound socket that whoever started us has made, as TCPStore's `master_listen_fd`.
 *
 * @param port what it must be bound to; 0: any
 * @throws ERR_PORT
 */
export function adoptTable(store: NativeStore, fd: number, port: number): NativeStoreAddress {
  try {
    return store.openTable({ fd, port });
  } catch (error) {
    const code = codeOf(error) ?? 'unknown';
    throw launchError('ERR_PORT', [`descriptor ${fd}`, descriptorProblems[code] ?? code], error);
  }
}

const descriptorProblems: Readonly<Record<string, string>> = {
  EBADF: 'it is not open; whoever starts us must pass it on',
  ENOTSOCK: 'it is no socket',
  EPROTOTYPE: 'it is no TCP socket',
  EDESTADDRREQ: 'it is not bound to a port',
  EADDRNOTAVAIL: 'it is bound to another port than --port says',
  EADDRINUSE: 'another socket listens at its port',
};

/** Port 0 is nobody's: any would have done. */
function shownAddress(host: string, port: number): string {
  return port === 0 ? host : addressOf(host, port);
}

/**
 * Lists of addresses to serve, in the order in which they're tried. A name may mean any address of
 * this machine. An address is served as it is: if it isn't this machine's, workers would wait for it
 * until they give up, and so we learn it now.
 */
function hostsOf(masterAddr: string): readonly (readonly string[])[] {
  // `localhost` means either of them, depending on the resolver.
  if (masterAddr === 'localhost' || masterAddr === '127.0.0.1')
    return [['127.0.0.1', '::1'], ['127.0.0.1']];
  if (masterAddr.includes(':') || /^\d{1,3}(\.\d{1,3}){3}$/.test(masterAddr)) return [[masterAddr]];
  return [['::'], ['0.0.0.0']];
}

function portProblem(error: unknown, masterAddr: string, port: number): string {
  switch (codeOf(error)) {
    case 'EADDRNOTAVAIL':
      return `${masterAddr} is not an address of this machine; give one that is, or localhost`;
    case 'EINVAL':
      return `${masterAddr} is not an address; give one of this machine, or localhost`;
    case 'EADDRINUSE': {
      const holder = portHolder(port);
      return `the port is in use${holder === undefined ? '' : ` by ${holder}`}; choose another one, or none for a free one`;
    }
    case 'EACCES':
      return 'ports below 1024 are for the superuser; choose another one, or none for a free one';
    default:
      return error instanceof Error ? error.message : String(error);
  }
}
