import type { Address } from '../../util/address.js';
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
  endpoint: Address | undefined,
): { readonly masterAddr?: string; readonly masterPort?: number } {
  if (!isAlone) return {};
  if (backend === 'static' && endpoint !== undefined) {
    const { host, port } = endpoint;
    return { masterAddr: host, ...(port === undefined ? {} : { masterPort: port }) };
  }
  const localAddr = values.text('local_addr');
  return localAddr === undefined || localAddr === '' ? {} : { masterAddr: localAddr };
}
