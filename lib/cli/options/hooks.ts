import type { Hooks } from '../../options/hooks.js';
import { durationOf } from '../line/durations.js';
import type { Feature, OptionSpec, Values } from './spec.js';

const option = (name: string, metavar: string, help: string): OptionSpec => ({
  names: [name],
  dest: name.slice(2).replaceAll('-', '_'),
  takes: 'text',
  metavar,
  env: false,
  origin: 'regroup',
  group: 'stopping',
  help,
});

export const hooks: Feature = {
  options: [
    option(
      '--pre-start',
      'COMMAND',
      'Run by /bin/sh before each round. If it fails, nothing is started.',
    ),
    option(
      '--pre-stop',
      'COMMAND',
      'Run before the stop signal goes to live workers; SIGKILL waits for nobody.',
    ),
    option(
      '--post-round',
      'COMMAND',
      "Run when a round's last worker is gone, before the next round or the end.",
    ),
    option('--hook-timeout', 'TIME', 'Then such a command is killed. Default: 10s.'),
  ],
  read(values) {
    const preStart = commandOf(values, 'pre_start');
    const preStop = commandOf(values, 'pre_stop');
    const postRound = commandOf(values, 'post_round');
    const timeoutMs = durationOf(values, 'hook_timeout', { aboveZero: true });
    const given: Hooks = {
      ...(preStart === undefined ? {} : { preStart }),
      ...(preStop === undefined ? {} : { preStop }),
      ...(postRound === undefined ? {} : { postRound }),
    };
    const isNone = Object.keys(given).length === 0;
    if (timeoutMs === undefined) return isNone ? {} : { hooks: given };
    if (isNone) {
      const accepted = '--pre-start, --pre-stop or --post-round beside it';
      return values.refuse('hook_timeout', "there's no hook", accepted);
    }
    return { hooks: { ...given, timeoutMs } };
  },
};

function commandOf(values: Values, dest: string): string | undefined {
  const command = values.text(dest);
  return command?.trim() === '' ? values.refuse(dest, 'it is empty', 'a command') : command;
}
