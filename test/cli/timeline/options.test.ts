import t from 'tap';
import { parseTimeline } from '../../../lib/cli/timeline/options.js';

t.test('files and where the trace goes', async t => {
  t.strictSame(parseTimeline(['a', '--output=t', 'b', 'a']), {
    do: 'run',
    options: { files: ['a', 'b'], output: 't' },
  });
  t.strictSame(parseTimeline(['-o', 't', '--', '-a']), {
    do: 'run',
    options: { files: ['-a'], output: 't' },
  });
  t.strictSame(parseTimeline(['a']), { do: 'run', options: { files: ['a'] } });
  t.strictSame(parseTimeline(['a', '-h']), { do: 'help' });
});

t.test('a wrong command line is refused in one line', async t => {
  const cases: Readonly<Record<string, RegExp>> = {
    '': /^name the files that --events has written/,
    'a --outptu=x': /^Unknown option '--outptu'; did you mean --output\?$/,
    'a --output': /^Option '-o, --output <value>' argument missing$/,
    'a --output=': /^--output: a file is missing$/,
    'a --help=x': /^Option '-h, --help' does not take an argument$/,
  };
  for (const [line, why] of Object.entries(cases)) {
    const parsed = parseTimeline(line === '' ? [] : line.split(' '));
    t.match(parsed, { do: 'refuse', why }, line);
  }
});
