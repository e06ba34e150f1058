import { type HangOptions, isPattern, type TimerOptions } from '../../options/hangs.js';
import { didYouMean } from '../../util/nearest.js';
import { signalNamed, signalNames } from '../../util/signals.js';
import { durationOf } from '../line/durations.js';
import type { Env, Feature, OptionSpec, Values } from './spec.js';

const option = (
  name: string,
  help: string,
  more: Partial<OptionSpec> = { metavar: 'TIME' },
): OptionSpec => ({
  names: [name],
  dest: name.slice(2).replaceAll('-', '_'),
  takes: 'text',
  env: false,
  origin: 'regroup',
  group: 'health',
  help,
  ...more,
});

const aboveZero = { aboveZero: true } as const;
const rules = ['hang_silence', 'expect', 'hang_heartbeat', 'first_progress'];

export const hang: Feature = {
  options: [
    option(
      '--hang-silence',
      'The job hangs when no worker has written anything for TIME (90, 500ms, 120s, 5m, 1h).',
    ),
    option('--expect', 'A line like this must recur, in each worker that has written one.', {
      metavar: 'REGEX',
    }),
    option('--every', 'How often --expect must, at least.'),
    option(
      '--expect-rule',
      "Of the value that --expect's first group catches: no NaN or infinity, or it must grow.",
      { choices: ['finite', 'grows'] },
    ),
    option('--hang-heartbeat', "A worker that has told a heartbeat hangs when it hasn't for TIME."),
    option(
      '--first-progress',
      'From the start to the first expected line or heartbeat; without --expect, to the first output.',
    ),
    option('--on-hang', 'Tell only, write stacks too, or also restart (default: restart).', {
      choices: ['notify', 'dump', 'restart'],
    }),
    option(
      '--dump-signal',
      "What makes the script's faulthandler write its stacks, where there's no py-spy: SIGUSR1.",
      { metavar: 'SIGNAL' },
    ),
  ],
  read(values, env) {
    const given = hangOf(values);
    return {
      ...(Object.keys(given).length === 0 ? {} : { hang: given }),
      ...timersOf(env),
    };
  },
};

/** @source pytorch v2.13.0, torch/distributed/elastic/agent/server/local_elastic_agent.py, _setup_local_watchdog */
function timersOf(env: Env): TimerOptions {
  if (env.TORCHELASTIC_ENABLE_FILE_TIMER !== '1') return {};
  const { TORCHELASTIC_TIMER_FILE: path } = env;
  return { fileTimers: path ? { path } : {} };
}

function hangOf(values: Values): HangOptions {
  const silenceMs = durationOf(values, 'hang_silence', aboveZero);
  const heartbeatMs = durationOf(values, 'hang_heartbeat', aboveZero);
  const firstProgressMs = durationOf(values, 'first_progress', aboveZero);
  const expect = expectOf(values);
  const action = values.text('on_hang') as HangOptions['action']; // choices has told
  const signalText = values.text('dump_signal');
  const dumpSignal = signalText === undefined ? undefined : signalNamed(signalText);
  if (signalText !== undefined && dumpSignal === undefined) {
    const why = `no such signal${didYouMean(signalText, signalNames)}`;
    values.refuse('dump_signal', why, 'a name like SIGUSR1 or USR1');
  }
  for (const dest of ['on_hang', 'dump_signal']) {
    if (values.text(dest) === undefined || rules.some(rule => values.text(rule) !== undefined))
      continue;
    values.refuse(
      dest,
      'no rule says what a hang is',
      '--hang-silence, --expect, --hang-heartbeat or --first-progress beside it',
    );
  }
  return {
    ...(silenceMs === undefined ? {} : { silenceMs }),
    ...(expect === undefined ? {} : { expect }),
    ...(heartbeatMs === undefined ? {} : { heartbeatMs }),
    ...(firstProgressMs === undefined ? {} : { firstProgressMs }),
    ...(action === undefined ? {} : { action }),
    ...(dumpSignal === undefined ? {} : { dumpSignal }),
  };
}

function expectOf(values: Values): HangOptions['expect'] {
  const pattern = values.text('expect');
  const everyMs = durationOf(values, 'every', aboveZero);
  const rule = values.text('expect_rule') as 'finite' | 'grows' | undefined; // choices has told
  if (pattern === undefined) {
    for (const dest of ['every', 'expect_rule']) {
      if (values.text(dest) !== undefined)
        values.refuse(dest, "there's no --expect", '--expect REGEX beside it');
    }
    return undefined;
  }
  if (pattern === '' || !isPattern(pattern)) {
    values.refuse('expect', "isn't a regular expression", "JavaScript's, without slashes");
  }
  if (everyMs === undefined)
    return values.refuse('expect', "there's no --every", '--every TIME beside it');
  return { pattern, everyMs, ...(rule === undefined ? {} : { rule }) };
}
