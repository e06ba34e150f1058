import t from 'tap';
import { optionsOf } from '../../../lib/cli/options/table.js';
import { helpText } from '../../../lib/cli/text/help.js';
import { exitCodes } from '../../../lib/exit-codes.js';

t.test('help names every option once, in all spellings, with its variable', t => {
  for (const command of ['regroup', 'regroup-launch'] as const) {
    const help = helpText(command);
    for (const option of optionsOf(command)) {
      const title = `\n  ${option.names.join(', ')}`;
      t.equal(help.split(new RegExp(`${title}(?= |\n)`)).length, 2, title);
      if (option.env) t.match(help, `PET_${option.dest.toUpperCase()}`);
    }
  }
  t.end();
});

t.test('help fits 100 columns and ends with one line break', t => {
  const help = helpText('regroup');

  for (const line of help.split('\n')) t.ok(line.length <= 100, line);
  t.match(help, /[^\n]\n$/);
  t.end();
});

t.test('F-U3: help names every exit code', t => {
  const [, codes = ''] = helpText('regroup').split('Exit code:\n');

  for (const code of Object.values(exitCodes))
    t.match(codes, new RegExp(`^ {2}${code} +\\S`, 'm'), String(code));
  t.end();
});

t.test('help says what is not available yet', t => {
  const help = helpText('regroup').replaceAll(/\s+/g, ' ');

  for (const name of ['--print-completion']) {
    t.match(help, new RegExp(`${name}[^.]*?(\\.[^.]*?)?available yet`), name);
  }
  t.end();
});
