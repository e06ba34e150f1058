import { type Check, fieldsOf, isWhole, oneOf } from './checks.js';

/** Who serves the store that workers find at MASTER_ADDR and MASTER_PORT. */
export type AgentStore = 'auto' | 'on' | 'off';

export interface StoreOptions {
  /**
   * `on`: the agent serves it, and every worker is a client. `off`: MASTER_PORT is left free for rank 0, which
   * serves there itself, as scripts with a store of their own (`init_method='tcp://…'`) expect of PyTorch
   * up to 2.14. `auto`: on, unless the workers' environment has TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1.
   * @default 'auto'
   */
  readonly agentStore?: AgentStore;
  /**
   * Ports for what is chosen at the start or anew in each round: the workers' MASTER_PORT. Both ends are in it. Ports that
   * are given stay as they are. @default any that the kernel chooses
   */
  readonly portRange?: PortRange;
}

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export const storeDefaults = { agentStore: 'auto' } as const;

const port: Check = [value => isWhole(value, 1, 65_535), 'a port from 1 to 65535'];

export const storeChecks: Readonly<Record<keyof StoreOptions, Check>> = {
  agentStore: oneOf('auto', 'on', 'off'),
  portRange: fieldsOf(
    { first: port, last: port },
    '{ first, last }, ports from 1 to 65535, at least two of them',
    ({ first, last }) => Number(first) < Number(last),
  ),
};

/**
 * Whether the agent serves the store.
 *
 * @param env the workers'
 * @source pytorch v2.13.0, torch/distributed/elastic/rendezvous/dynamic_rendezvous.py, use_agent_store
 */
export function agentServes(
  agentStore: AgentStore,
  env: Readonly<Record<string, string | undefined>>,
): boolean {
  if (agentStore !== 'auto') return agentStore === 'on';
  return env.TORCH_DISABLE_SHARE_RDZV_TCP_STORE !== '1';
}
