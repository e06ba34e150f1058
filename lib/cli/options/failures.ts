import {
  type FailureRuleOption,
  isPattern,
  type RuleAction,
  ruleActions,
} from '../../options/failures.js';
import { didYouMean } from '../../util/nearest.js';
import { signalNamed } from '../../util/signals.js';
import { durationIn, durationOf, perTimeOf } from '../line/durations.js';
import type { Feature, OptionSpec, Values } from './spec.js';

const own = { env: false, origin: 'regroup', group: 'failures' } as const;
const actions = ruleActions.join(', ');

const options: readonly OptionSpec[] = [
  {
    ...own,
    names: ['--on-exit'],
    dest: 'on_exit',
    takes: 'text',
    metavar: 'CODES=ACTION;…',
    help: `What follows when the root cause exited so: codes, ranges and signals, like 3,64-78,SIGSEGV=fail. Actions: ${actions}. The first that applies decides.`,
  },
  {
    ...own,
    names: ['--on-pattern'],
    dest: 'on_pattern',
    takes: 'text',
    metavar: 'REGEX=ACTION;…',
    help: 'The same for its error message and the last lines of its stderr, where that is captured (--redirects, --tee). Asked after --on-exit.',
  },
  {
    ...own,
    names: ['--restart-window'],
    dest: 'restart_window',
    takes: 'text',
    metavar: 'N/TIME',
    help: 'At most N restarts within any such time, like 3/10m. Without --max-restarts it is the only limit.',
  },
  {
    ...own,
    names: ['--back-off'],
    dest: 'back_off',
    takes: 'text',
    metavar: 'FIRST:MAX',
    help: 'Wait before a restart, like 1s:60s: doubled with each failure in a row without progress; the half of it by chance.',
  },
  {
    ...own,
    names: ['--fail-fast'],
    dest: 'fail_fast',
    takes: 'text',
    metavar: 'TIME',
    help: 'A first round that fails within this time ends the job.',
  },
  {
    ...own,
    names: ['--no-progress'],
    dest: 'no_progress',
    takes: 'int',
    metavar: 'N',
    help: 'So many failed rounds in a row, none of which told a higher step than any before, end the job.',
  },
  {
    ...own,
    names: ['--reset-on-progress'],
    dest: 'reset_on_progress',
    takes: 'flag',
    help: 'A round that told a higher step than any before gives all restarts back.',
  },
  {
    ...own,
    names: ['--healthy-after'],
    dest: 'healthy_after',
    takes: 'text',
    metavar: 'TIME',
    help: 'A round that ran so long before it failed has made progress, too, for --no-progress, --back-off and --reset-on-progress.',
  },
];

/** When a failed round is followed by another. */
export const failures: Feature = {
  options,
  read(values) {
    const failureRules = [...rulesOf(values, 'on_exit'), ...rulesOf(values, 'on_pattern')];
    const noProgressRounds = values.int('no_progress');
    if (noProgressRounds !== undefined && noProgressRounds < 1)
      values.refuse('no_progress', 'it counts failed rounds', 'a number from 1');
    const failFastMs = durationOf(values, 'fail_fast');
    const healthyAfterMs = durationOf(values, 'healthy_after');
    return {
      ...(failureRules.length === 0 ? {} : { failureRules }),
      ...windowOf(values),
      ...backOffOf(values),
      ...(failFastMs === undefined ? {} : { failFastMs }),
      ...(noProgressRounds === undefined ? {} : { noProgressRounds }),
      ...(values.flag('reset_on_progress') ? { resetOnProgress: true } : {}),
      ...(healthyAfterMs === undefined ? {} : { healthyAfterMs }),
    };
  },
};

function rulesOf(values: Values, dest: 'on_exit' | 'on_pattern'): FailureRuleOption[] {
  const text = values.text(dest);
  if (text === undefined) return [];
  return text.split(';').map(part => {
    const equals = part.lastIndexOf('=');
    const action = part.slice(equals + 1).trim() as RuleAction; // checked in the next line
    if (equals < 1 || !ruleActions.includes(action)) {
      const meant = didYouMean(action, ruleActions);
      const why = `${part} names no action${meant}`;
      return values.refuse(dest, why, `…=ACTION with one of ${actions}`);
    }
    const what = part.slice(0, equals).trim();
    if (dest === 'on_exit') return { ...codesOf(values, what), action };
    if (!isPattern(what))
      return values.refuse(dest, `${what} is no regular expression`, "one of JavaScript's");
    return { pattern: what, action };
  });
}

function codesOf(
  values: Values,
  text: string,
): FailureRuleOption | Omit<FailureRuleOption, 'action'> {
  const exitCodes: (readonly [number, number])[] = [];
  const signals: string[] = [];
  for (const part of text.split(',').map(each => each.trim())) {
    const [, from, to = from] = /^(\d+)(?:-(\d+))?$/.exec(part) ?? [];
    if (from !== undefined && Number(from) <= Number(to) && Number(to) <= 255) {
      exitCodes.push([Number(from), Number(to)]);
      continue;
    }
    // Numbers are codes here, whatever kill(1) takes them for.
    const signal = /^\d/.test(part) ? undefined : signalNamed(part);
    if (signal === undefined) {
      const accepted = 'codes from 0 to 255, ranges like 64-78, signals like SIGSEGV';
      return values.refuse('on_exit', `'${part}' is not an exit code or signal`, accepted);
    }
    signals.push(signal);
  }
  return {
    ...(exitCodes.length === 0 ? {} : { exitCodes }),
    ...(signals.length === 0 ? {} : { signals }),
  };
}

function windowOf(values: Values): { restartWindow?: { restarts: number; perMs: number } } {
  const window = perTimeOf(values, 'restart_window');
  if (window === undefined) return {};
  return { restartWindow: { restarts: window.count, perMs: window.perMs } };
}

function backOffOf(values: Values): { backOff?: { firstMs: number; maxMs: number } } {
  const text = values.text('back_off');
  if (text === undefined) return {};
  const [first = '', max = first] = text.split(':');
  const firstMs = durationIn(values, 'back_off', first);
  const maxMs = durationIn(values, 'back_off', max);
  if (firstMs > maxMs)
    return values.refuse('back_off', 'the first is above the last', 'FIRST:MAX, like 1s:60s');
  return { backOff: { firstMs, maxMs } };
}
