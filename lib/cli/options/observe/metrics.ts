import type { MetricsAddress } from '../../../options/observe/metrics.js';
import { isNumeric, parseAddress } from '../../../util/address.js';
import type { Feature, Values } from '../spec.js';

export const metrics: Feature = {
  options: [
    {
      names: ['--metrics'],
      dest: 'metrics',
      takes: 'text',
      metavar: '[HOST:]PORT',
      env: false,
      origin: 'regroup',
      group: 'observe',
      help: "Serve this node's metrics to Prometheus at /metrics, from the start to the end; port 0: any that is free, which is told. HOST is an address of this machine; whoever reaches it may read them. Default: none; of HOST: 127.0.0.1.",
    },
  ],
  read(values) {
    const text = values.text('metrics');
    return text === undefined ? {} : { metrics: metricsOf(text, values) };
  },
};

/** @throws CommandLineError */
function metricsOf(text: string, values: Values): MetricsAddress {
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return { port: Number(text) };
  const address = parseAddress(text);
  if (typeof address === 'object' && address.port !== undefined) {
    const { host, port } = address;
    if (isNumeric(host) || host === 'localhost') return { host, port };
  }
  const accepted = '[HOST:]PORT, as 9400, 0.0.0.0:9400 or [::]:9400';
  return values.refuse('metrics', `'${text}' is no address to serve at`, accepted);
}
