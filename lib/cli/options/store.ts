import type { PortRange } from '../../options/store.js';
import type { Feature, Values } from './spec.js';

export const store: Feature = {
  options: [
    {
      names: ['--agent-store'],
      dest: 'agent_store',
      takes: 'text',
      choices: ['auto', 'on', 'off'],
      env: false,
      origin: 'regroup',
      group: 'nodes',
      help: 'Who serves the store at the master port: regroup itself (on), or rank 0 (off), as scripts with a store of their own need. auto, the default: on, but off with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 where torchrun takes it.',
    },
    {
      names: ['--port-range'],
      dest: 'port_range',
      takes: 'text',
      metavar: 'FIRST-LAST',
      env: false,
      origin: 'regroup',
      group: 'nodes',
      help: "Ports for the workers' store where its port is not given: the first one that is free, anew in each round. A firewall between nodes must let them pass. Default: any that the kernel chooses.",
    },
  ],
  read(values) {
    const agentStore = values.text('agent_store');
    const isKnown = agentStore === 'on' || agentStore === 'off' || agentStore === 'auto';
    return { ...(isKnown ? { agentStore } : {}), ...portRangeOf(values) };
  },
};

/** @throws CommandLineError */
function portRangeOf(values: Values): { readonly portRange?: PortRange } {
  const text = values.text('port_range');
  if (text === undefined) return {};
  const [, from, to] = /^\s*(\d{1,5})-(\d{1,5})\s*$/.exec(text) ?? [];
  const portRange = { first: Number(from), last: Number(to) };
  const { first, last } = portRange;
  if (first >= 1 && first < last && last <= 65_535) return { portRange };
  const accepted = 'FIRST-LAST, at least two ports from 1 to 65535, as 29400-29409';
  return values.refuse('port_range', `'${text}' is no range of ports`, accepted);
}
