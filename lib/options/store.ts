import { type Check, oneOf } from './checks.js';

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
}

export const storeDefaults = { agentStore: 'auto' } as const;

export const storeChecks: Readonly<Record<keyof StoreOptions, Check>> = {
  agentStore: oneOf('auto', 'on', 'off'),
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
