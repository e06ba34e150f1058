import { type Address, type AddressProblem, parseAddress } from '../../util/address.js';
import { didYouMean } from '../../util/nearest.js';
import type { Values } from '../options/spec.js';
import { invalidInt, pythonInt } from './python-text.js';

const nodesAccepted = 'N or MIN:MAX with 0 < MIN <= MAX';

/** How many nodes take part. */
export interface NodeCounts {
  readonly minNodes: number;
  readonly maxNodes: number;
  /** One node that meets nobody. */
  readonly isAlone: boolean;
}

/** @throws CommandLineError */
export function parseNodes(values: Values): NodeCounts {
  const text = values.text('nnodes') ?? '1:1';
  const parts = text.split(':');
  if (parts.length > 2)
    values.refuse('nnodes', `nnodes=${text} is not in "MIN:MAX" format`, nodesAccepted);

  const numbers = parts.map(
    part => pythonInt(part) ?? values.refuse('nnodes', invalidInt(part), nodesAccepted),
  );
  const minNodes = numbers[0] ?? 0;
  const maxNodes = numbers[1] ?? minNodes;
  if (!(minNodes > 0 && minNodes <= maxNodes)) {
    const why = `min_nodes must be > 0 and <= max_nodes, got min_nodes=${minNodes}, max_nodes=${maxNodes}`;
    values.refuse('nnodes', why, nodesAccepted);
  }
  return { minNodes, maxNodes, isAlone: maxNodes === 1 || values.flag('standalone') };
}

/** How the nodes meet, after torchrun's rewriting of it. */
export interface Meeting {
  readonly backend: string;
  readonly endpoint: string;
  /** The run's id; absent: a random one. */
  readonly runId: string | undefined;
}

/**
 * `--standalone`, and the plain single-node command, mean: meet nobody, on a free port, under a
 * random id. An explicit master port, by option or environment, keeps the static backend.
 *
 * @source pytorch 2.13, torch/distributed/run.py, run; PR #175699
 */
export function resolveMeeting(values: Values, { maxNodes }: NodeCounts): Meeting {
  const backend = values.text('rdzv_backend') ?? 'static';
  const endpoint = values.text('rdzv_endpoint') ?? '';
  const masterPort = values.int('master_port');
  const isPlain =
    backend === 'static' && endpoint === '' && masterPort === undefined && maxNodes === 1;
  if (values.flag('standalone') || isPlain) {
    return { backend: 'c10d', endpoint: 'localhost:0', runId: undefined };
  }

  const isStaticDefault = backend === 'static' && endpoint === '';
  return {
    backend,
    endpoint: isStaticDefault ? `${values.text('master_addr')}:${masterPort ?? 29500}` : endpoint,
    runId: values.text('rdzv_id') ?? '',
  };
}

const backends = ['static', 'c10d', 'etcd-v2', 'etcd'];

/** Both mean etcd v3, since etcd has no v2 any more. */
export function isEtcd(backend: string): boolean {
  return backend === 'etcd' || backend === 'etcd-v2';
}

/** @throws CommandLineError */
export function checkBackend(values: Values, { backend }: Meeting): void {
  if (backends.includes(backend)) return;
  const why = backend
    ? `The rendezvous backend '${backend}' is not registered. Did you forget to call \`register\`?${didYouMean(backend, backends)}`
    : 'The rendezvous backend name must be a non-empty string.';
  values.refuse('rdzv_backend', why, backends.join(', '));
}

/** Where the workers of one node meet; those of several do at the first one's. */
export function masterOf(
  values: Values,
  { backend }: Meeting,
  { isAlone }: NodeCounts,
  [endpoint]: readonly Address[],
): { readonly masterAddr?: string; readonly masterPort?: number } {
  if (!isAlone) return {};
  if (backend === 'static' && endpoint !== undefined) {
    const { host, port } = endpoint;
    return { masterAddr: host, ...(port === undefined ? {} : { masterPort: port }) };
  }
  const localAddr = values.text('local_addr');
  return localAddr === undefined || localAddr === '' ? {} : { masterAddr: localAddr };
}

/**
 * Where nodes meet: at one place, or at the members of an etcd. And where the workers of one static node do. None for one
 * node with etcd, whose endpoint nobody has a use for.
 *
 * @param isAlone whether there's one node, whose endpoint means what it does to torchrun
 * @throws CommandLineError
 */
export function resolveEndpoints(
  values: Values,
  { backend, endpoint }: Meeting,
  isAlone: boolean,
): readonly Address[] {
  if (backend === 'c10d') return [parseEndpoint(values, 'rdzv_endpoint', endpoint, isAlone)];
  if (isEtcd(backend)) {
    const members = isAlone ? [] : endpoint.split(',');
    return members.map(each => parseEndpoint(values, 'rdzv_endpoint', each, isAlone));
  }

  const dest = values.text('rdzv_endpoint') ? 'rdzv_endpoint' : 'master_port';
  if (endpoint.trim() === '') {
    const why = 'Endpoint is missing in endpoint. Try to add --master-addr and --master-port';
    values.refuse(dest, why, 'HOST:PORT');
  }
  const hostDest = dest === 'master_port' ? 'master_addr' : dest;
  const address = parseEndpoint(values, dest, endpoint, isAlone, hostDest);
  if (address.port === undefined) {
    const why = `port is missing in endpoint: ${endpoint.trim()}. Try to specify --master-port`;
    values.refuse(dest, why, 'HOST:PORT');
  }
  return [address];
}

/** @param hostDest the option that has the host, where it's another one */
function parseEndpoint(
  values: Values,
  dest: string,
  text: string,
  isAlone: boolean,
  hostDest = dest,
): Address {
  const endpoint = text.trim();
  if (endpoint === '') return { host: 'localhost' };

  const address = isAlone ? asTorchrun(endpoint) : parseAddress(endpoint);
  switch (address) {
    case 'bad-port': {
      const why =
        `The port number of the rendezvous endpoint '${endpoint}' must be an integer ` +
        'between 0 and 65536.';
      return values.refuse(dest, why, 'HOST:PORT with a port from 0 to 65535');
    }
    case 'bad-host': {
      // What was to give it has failed behind a pipe, or a variable is empty.
      if (/^(\[\])?(:|$)/.test(endpoint))
        return values.refuse(hostDest, 'there is no host in the endpoint', 'HOST[:PORT]');
      const why =
        `The hostname of the rendezvous endpoint '${endpoint}' must be a dot-separated list of ` +
        'labels, an IPv4 address, or an IPv6 address.';
      return values.refuse(hostDest, why, 'HOST[:PORT]');
    }
    case 'unclear': {
      const colon = endpoint.lastIndexOf(':');
      const split = `[${endpoint.slice(0, colon)}]${endpoint.slice(colon)}`;
      return values.refuse(dest, 'its end may be a port or not', `${split} or [${endpoint}]`);
    }
    default:
      return address;
  }
}

/** @source pytorch 2.13, torch/distributed/elastic/rendezvous/utils.py, parse_rendezvous_endpoint */
function asTorchrun(endpoint: string): Address | AddressProblem {
  const isBareV6 = endpoint.startsWith('[') && endpoint.endsWith(']');
  const colon = isBareV6 ? -1 : endpoint.lastIndexOf(':');
  const rawHost = colon < 0 ? endpoint : endpoint.slice(0, colon);
  const host = /^\[.*\]$/.test(rawHost) && rawHost.length > 1 ? rawHost.slice(1, -1) : rawHost;
  const digits = colon < 0 ? undefined : endpoint.slice(colon + 1);
  const port = digits === undefined ? undefined : Number(digits);
  if (digits !== undefined && !(/^[0-9]{1,5}$/.test(digits) && Number(digits) < 65_536))
    return 'bad-port';
  if (!/^[\w.:-]+$/.test(host)) return 'bad-host';
  return { host, ...(port === undefined ? {} : { port }) };
}
