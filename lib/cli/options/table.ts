import { features } from './own.js';
import { both, type CommandName, type OptionSpec } from './spec.js';
import { torchrunOptions } from './torchrun.js';

const ownOptions: readonly OptionSpec[] = [
  ...features.flatMap(feature => feature.options),
  {
    names: ['--exit-code'],
    dest: 'exit_code',
    takes: 'text',
    default: 'torchrun',
    choices: ['torchrun', 'worker'],
    env: false,
    origin: 'regroup',
    group: 'stopping',
    help: "After a failure exit with 1, as torchrun does, or with the root cause's own code (128 + n for signal n).",
  },
  {
    names: ['--dry-run'],
    dest: 'dry_run',
    takes: 'flag',
    env: false,
    origin: 'regroup',
    group: 'about',
    help: 'Print what would be started, and start nothing.',
  },
  {
    names: ['--version'],
    dest: 'version',
    takes: 'version',
    env: false,
    origin: 'regroup',
    group: 'about',
    help: 'Print the version.',
  },
  {
    names: ['-h', '--help'],
    dest: 'help',
    takes: 'help',
    env: false,
    origin: 'torchrun',
    group: 'about',
    help: 'Print this text.',
  },
];

const useEnv: OptionSpec = {
  names: both('--use-env'),
  dest: 'use_env',
  takes: 'flag',
  env: false,
  origin: 'launch',
  group: 'entrypoint',
  help: 'Leave the argument --local-rank=N away; the script reads LOCAL_RANK.',
};

/** Every option, in one table: the grammar, the values and the help read it. */
export function optionsOf(command: CommandName): readonly OptionSpec[] {
  return command === 'regroup'
    ? [...torchrunOptions, ...ownOptions]
    : [...torchrunOptions, useEnv, ...ownOptions];
}
