import { isNumeric } from '../../util/address.js';
import { type Check, fieldsOf, isWhole } from '../checks.js';

/** Where metrics are served. */
export interface MetricsAddress {
  /** A numeric address of this machine, or `localhost`. @default '127.0.0.1' */
  readonly host?: string;
  /** 0: the kernel chooses one, which the event `metrics-served` tells. */
  readonly port: number;
}

export interface MetricsOptions {
  /**
   * Serves this node's metrics by HTTP, in Prometheus's format, from the launch until the run has ended. Whoever reaches the address may read
   * them. What stands in the way is told by the event `metrics-trouble`, and the run goes on without. @default none
   */
  readonly metrics?: MetricsAddress;
}

const host: Check = [
  value => typeof value === 'string' && (isNumeric(value) || value === 'localhost'),
  'a numeric address of this machine',
];
const port: Check = [value => isWhole(value, 0, 65_535), 'a port from 0 to 65535'];

export const metricsChecks: Readonly<Record<keyof MetricsOptions, Check>> = {
  metrics: fieldsOf(
    { host, port },
    '{ port }, or { host, port }',
    value => value.port !== undefined,
  ),
};
