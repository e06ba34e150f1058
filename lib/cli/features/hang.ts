import { type HangOptions, isPattern } from '../../hang-options.js';
import { maxTimerMs } from '../../util/timers.js';
import type { Feature } from '../features.js';
import type { OptionSpec } from '../option-spec.js';
import type { Values } from '../values.js';

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

const rules = ['hang_silence', 'expect', 'hang_heartbeat', 'first_progress'];

export const hang: Feature = {
  options: [
    option(
      '--hang-silence',
      'The job hangs when no worker has written anything for TIME (90, 120s, 5m, 1h).',
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
  read(values) {
    const given = hangOf(values);
    return Object.keys(given).length === 0 ? {} : { hang: given };
  },
};

function hangOf(values: Values): HangOptions {
  const silenceMs = timeOf(values, 'hang_silence');
  const heartbeatMs = timeOf(values, 'hang_heartbeat');
  const firstProgressMs = timeOf(values, 'first_progress');
  const expect = expectOf(values);
  const action = values.text('on_hang') as HangOptions['action']; // choices has told
  const dumpSignal = values.text('dump_signal');
  if (dumpSignal !== undefined && !/^SIG[A-Z0-9]+$/.test(dumpSignal)) {
    values.refuse('dump_signal', 'no such signal', 'a name like SIGUSR1');
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
  const everyMs = timeOf(values, 'every');
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

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

function timeOf(values: Values, dest: string): number | undefined {
  const text = values.text(dest);
  if (text === undefined) return undefined;

  const [, number, unit = 's'] = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text) ?? [];
  const ms = Number(number) * (units[unit] ?? 0);
  if (ms > 0 && ms <= maxTimerMs) return ms;
  return values.refuse(dest, "isn't a time", '90, 500ms, 120s, 5m, 1h; 24 days at most');
}
