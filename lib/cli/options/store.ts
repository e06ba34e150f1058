import type { Feature } from './spec.js';

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
  ],
  read(values) {
    const agentStore = values.text('agent_store');
    return agentStore === 'on' || agentStore === 'off' || agentStore === 'auto'
      ? { agentStore }
      : {};
  },
};
