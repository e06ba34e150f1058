import { launchError, onMachine } from '../errors.js';
import { native } from '../native/addon.js';
import type {
  NativeStore,
  NativeStoreAddress,
  NativeStoreOptions,
  NativeStoreReport,
} from '../native/store.js';
import type { PortRange } from '../options/store.js';
import { addressOf } from '../util/address.js';
import { adviceFor, codeOf, describeErrno } from '../util/errno.js';
import { everyHost, type Hosts } from './master-hosts.js';

/** A store, for as many clients as this process may have descriptors. @throws ERR_NATIVE_MISSING, ERR_MACHINE */
export function createStore(
  options: NativeStoreOptions,
  onReport: (report: NativeStoreReport) => void,
): NativeStore {
  const addon = native();
  return onMachine("can't start the store", () => {
    addon.raiseNofile();
    return addon.createStore(options, onReport);
  });
}

/**
 * Opens a table.
 *
 * @param shown the address as it was given, for the error's text
 * @param port of a range the first one that's free; 0: the kernel chooses
 * @throws ERR_PORT
 */
export function openTable(
  store: NativeStore,
  hosts: Hosts,
  shown: string,
  port: number | PortRange,
  serves: Serves = {},
): NativeStoreAddress {
  return atFirst(hosts, shown, port, where => store.openTable({ ...serves, ...where }));
}

/** Of a second each, for which the store's thread may stand still. */
const borrowAttempts = 10;

/** Opens a table at the port of another one. @throws the addon's error */
export function borrowTable(store: NativeStore, lender: NativeStoreAddress): NativeStoreAddress {
  for (let left = borrowAttempts; ; left--) {
    try {
      return store.borrowPort(lender.table);
    } catch (error) {
      // A stalled machine is no reason to end a job for.
      if (codeOf(error) !== 'ETIMEDOUT' || left === 1) throw error;
    }
  }
}

/** What a table's port serves beside TCPStore. */
export interface Serves {
  /** What agents of a job share: see lib/coordination. @default false */
  readonly coordination?: boolean;
  /** Which agents must prove to have. @default none: whoever reaches the port is one of them */
  readonly token?: string;
  /** Whether the port serves nobody but agents, not even TCPStore's clients. @default false */
  readonly exclusive?: boolean;
}

/**
 * A port for a store that rank 0 will serve: `port`, if nobody has it, one of a range, or any for 0. As with torchrun it may
 * be lost before rank 0 is there.
 *
 * @throws ERR_PORT
 */
export function freePort(shown: string, port: number | PortRange): number {
  // TCPStore's servers bind every address, whatever MASTER_ADDR says.
  return atFirst(everyHost, shown, port, where => native().freePort(where));
}

interface Where {
  readonly hosts: readonly string[];
  readonly port: number;
}

/** What works with the first hosts that this machine has, and at the first port. @throws ERR_PORT */
function atFirst<T>(
  hosts: Hosts,
  shown: string,
  port: number | PortRange,
  work: (where: Where) => T,
): T {
  const range = typeof port === 'number' ? { first: port, last: port } : port;
  let failure: unknown;
  for (const each of hosts) {
    for (let next = range.first; next <= range.last; next++) {
      try {
        return work({ hosts: each, port: next });
      } catch (error) {
        failure = error;
        if (codeOf(error) !== 'EADDRINUSE') break;
      }
    }
    // Fallback: kernels without IPv6.
    if (!['EAFNOSUPPORT', 'EADDRNOTAVAIL'].includes(codeOf(failure) ?? '')) break;
  }
  if (typeof port !== 'number' && codeOf(failure) === 'EADDRINUSE') {
    const why = `no port from ${range.first} to ${range.last} is free; give a wider range`;
    throw launchError('ERR_PORT', [shown, why], failure);
  }
  const why = portProblem(failure, shown, range.first);
  throw launchError('ERR_PORT', [shownAddress(shown, range.first), why], failure);
}

/**
 * Serves at a bound socket that whoever started us has made, as TCPStore's `master_listen_fd`.
 *
 * @param port what it must be bound to; 0: any
 * @throws ERR_PORT
 */
export function adoptTable(
  store: NativeStore,
  fd: number,
  port: number,
  serves: Serves = {},
): NativeStoreAddress {
  try {
    return store.openTable({ ...serves, fd, port });
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

/** Limit of looking for a port's holder. It's for an error's text only, so nobody minds if it isn't found by then. */
const holderMs = 500;

function portProblem(error: unknown, shown: string, port: number): string {
  switch (codeOf(error)) {
    case 'EADDRNOTAVAIL':
      return `${shown} is not an address of this machine; give one that is, or localhost`;
    case 'EINVAL':
      return `${shown} is not an address; give one of this machine, or localhost`;
    case 'EADDRINUSE': {
      if (port === 0) return 'no port is free: see /proc/sys/net/ipv4/ip_local_port_range';
      const holder = native().portHolder(port, holderMs);
      const by = holder === undefined ? '' : ` by ${holder.command} (pid ${holder.pid})`;
      return `the port is in use${by}; choose another one, or none for a free one`;
    }
    case 'EACCES':
      return 'ports below 1024 are for the superuser; choose another one, or none for a free one';
    default: {
      const { errno, syscall } = error as { errno?: number; syscall?: string }; // the addon's
      if (errno === undefined) return String(error);
      const { code, text } = describeErrno(errno);
      return `${syscall}: ${text}${adviceFor(code)}`;
    }
  }
}
