import type { ControlOptions } from '../../../options/control/control.js';
import type { Env, Feature } from '../spec.js';

export const control: Feature = {
  options: [
    {
      names: ['--control'],
      dest: 'control',
      takes: 'text',
      choices: ['auto', 'on', 'off'],
      env: false,
      origin: 'regroup',
      group: 'control',
      help: 'The socket of `regroup ps`, logs, stop, restart, dump and drain, for this user alone. auto, the default: a second after the start, without a word where it cannot be had; on: at once.',
    },
  ],
  read(values, env) {
    const text = values.text('control');
    const which = text === 'on' || text === 'off' ? text : 'auto';
    return { control: which, ...healthOf(env) };
  },
};

function healthOf({ TORCHELASTIC_HEALTH_CHECK_PORT: text }: Env): ControlOptions {
  const healthPort = portOf(text);
  return healthPort === undefined ? {} : { healthPort };
}

/**
 * What's said of a port that's none; undefined: it's one, or there's none. As torchrun, a job runs without it.
 *
 * @source pytorch v2.13.0, torch/distributed/elastic/agent/server/local_elastic_agent.py, _setup_healthcheck
 */
export function badHealthPort({ TORCHELASTIC_HEALTH_CHECK_PORT: text }: Env): string | undefined {
  if (text === undefined || portOf(text) !== undefined) return undefined;
  return `Invalid healthcheck port value: '${text}', expecting integer. Not starting healthcheck server.`;
}

function portOf(text = ''): number | undefined {
  return /^\s*\d{1,5}\s*$/.test(text) && Number(text) <= 65_535 ? Number(text) : undefined;
}
