import { didYouMean } from '../../util/nearest.js';
import type { Values } from '../options/spec.js';
import { invalidInt, pythonInt } from './python-text.js';

const nodesAccepted = 'N or MIN:MAX with 0 < MIN <= MAX';

export function parseNodes(values: Values): [min: number, max: number] {
  const text = values.text('nnodes') ?? '1:1';
  const parts = text.split(':');
  if (parts.length > 2)
    values.refuse('nnodes', `nnodes=${text} is not in "MIN:MAX" format`, nodesAccepted);

  const numbers = parts.map(
    part => pythonInt(part) ?? values.refuse('nnodes', invalidInt(part), nodesAccepted),
  );
  const min = numbers[0] ?? 0;
  const max = numbers[1] ?? min;
  if (!(min > 0 && min <= max)) {
    const why = `min_nodes must be > 0 and <= max_nodes, got min_nodes=${min}, max_nodes=${max}`;
    values.refuse('nnodes', why, nodesAccepted);
  }
  return [min, max];
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
export function resolveMeeting(values: Values, maxNodes: number): Meeting {
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

export function resolveAddress(
  values: Values,
  meeting: Meeting,
): { readonly masterAddr?: string; readonly masterPort?: number } {
  const { backend, endpoint } = meeting;
  if (!backends.includes(backend)) {
    const why = backend
      ? `The rendezvous backend '${backend}' is not registered. Did you forget to call \`register\`?${didYouMean(backend, backends)}`
      : 'The rendezvous backend name must be a non-empty string.';
    values.refuse('rdzv_backend', why, backends.join(', '));
  }

  if (backend === 'static') {
    const dest = values.text('rdzv_endpoint') ? 'rdzv_endpoint' : 'master_port';
    if (endpoint.trim() === '') {
      const why = 'Endpoint is missing in endpoint. Try to add --master-addr and --master-port';
      values.refuse(dest, why, 'HOST:PORT');
    }
    const [masterAddr, masterPort] = parseEndpoint(values, dest, endpoint);
    if (masterPort === undefined) {
      const why = `port is missing in endpoint: ${endpoint.trim()}. Try to specify --master-port`;
      values.refuse(dest, why, 'HOST:PORT');
    }
    return { masterAddr, masterPort };
  }

  if (backend === 'c10d') parseEndpoint(values, 'rdzv_endpoint', endpoint);
  const localAddr = values.text('local_addr');
  return localAddr === undefined || localAddr === '' ? {} : { masterAddr: localAddr };
}

/** @source pytorch 2.13, torch/distributed/elastic/rendezvous/utils.py, parse_rendezvous_endpoint */
function parseEndpoint(
  values: Values,
  dest: string,
  text: string,
): [host: string, port: number | undefined] {
  const endpoint = text.trim();
  if (endpoint === '') return ['localhost', undefined];

  const isBareV6 = endpoint.startsWith('[') && endpoint.endsWith(']');
  const colon = isBareV6 ? -1 : endpoint.lastIndexOf(':');
  const rawHost = colon < 0 ? endpoint : endpoint.slice(0, colon);
  const host = /^\[.*\]$/.test(rawHost) && rawHost.length > 1 ? rawHost.slice(1, -1) : rawHost;
  let port: number | undefined;
  if (colon >= 0) {
    const digits = endpoint.slice(colon + 1);
    port = /^[0-9]{1,5}$/.test(digits) ? Number(digits) : undefined;
    if (port === undefined || port >= 65_536) {
      const why =
        `The port number of the rendezvous endpoint '${endpoint}' must be an integer ` +
        'between 0 and 65536.';
      values.refuse(dest, why, 'HOST:PORT with a port from 0 to 65535');
    }
  }
  if (!/^[\w.:-]+$/.test(host)) {
    const why =
      `The hostname of the rendezvous endpoint '${endpoint}' must be a dot-separated list of ` +
      'labels, an IPv4 address, or an IPv6 address.';
    values.refuse(dest, why, 'HOST[:PORT]');
  }
  return [host, port];
}
