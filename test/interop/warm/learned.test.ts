import { chmodSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { launch } from '../../../lib/index.js';
import { startProgram } from '../../harness.js';
import { muteDisk, noMuteDisk } from '../../mute-disk.js';
import { heavy, keptList, read, reasons, run, setting } from './heavy.js';

// What standbys import is learned from a round, and kept for the next run. Without torch, which this isn't about.

t.setTimeout(600_000);

t.test('what a round imports is imported beforehand for those behind it', async t => {
  const made = setting(t, 'sets');

  const told = await run(made);

  t.match(told.result, { outcome: 'succeeded' });
  t.strictSame(reasons(told, 'standby-trouble'), []);
  t.strictSame(told.ready[1], ['1', '1'], 'with what the script sets before');
  for (const round of [0, 1, 2]) {
    for (const rank of [0, 1]) {
      const isLearnedFrom = round === 0 && rank === 0 ? 1 : 0;
      t.equal(read(join(made.folder, `ran-${round}-${rank}`)), `0 ${isLearnedFrom} 1 own`);
    }
  }
  const list = await keptList(made);
  t.match(JSON.parse(list), { replays: true, own: [{ path: /train\.py$/ }, { path: /own\.py$/ }] });
  t.notMatch(list, 'MY_SEED', 'what is set is nobody’s business');
});

t.test('the next run has the list from its start, as long as the script stays', async t => {
  const made = setting(t, 'plain');

  const first = await run(made);
  await keptList(made);
  writeFileSync(join(made.folder, 'late'), '');
  const second = await run(made);

  t.match([first.result, second.result], [{ outcome: 'succeeded' }, { outcome: 'succeeded' }]);
  t.strictSame(
    second.ready[0],
    ['-', '-'],
    'the first standbys have imported it, the script had not',
  );

  writeFileSync(join(made.folder, 'own.py'), 'name = "edited"\n');
  const third = await run(made, true);

  t.match(third.result, { outcome: 'succeeded' });
  t.strictSame(third.ready[0], [undefined, undefined], 'an edited script is learned anew');
});

t.test('a kept list says nothing of a run with other arguments', async t => {
  const made = setting(t, 'plain');
  const withArgs = (how: string) => ({
    ...made,
    options: { ...made.options, args: [made.folder, how, '2'] },
  });
  await run(made);
  await keptList(made);

  const flags = await run(withArgs('flags'));
  writeFileSync(join(made.folder, 'late'), '');
  const sets = await run(withArgs('sets'));

  t.match([flags.result, sets.result], [{ outcome: 'succeeded' }, { outcome: 'succeeded' }]);
  t.strictSame(reasons(flags, 'standby-trouble'), [
    'it changes dlopen flags before it imports heavy',
  ]);
  t.strictSame(sets.ready[0], ['-', '-'], 'made before the script has set anything');
  t.strictSame(reasons(sets, 'standby-trouble'), [
    'the script has changed MY_SEED before an import since they were started',
  ]);
  for (const round of [0, 1, 2])
    t.match(
      read(join(made.folder, `ran-${round}-0`)),
      / 1 own$/,
      `round ${round} has its own seed`,
    );
});

t.test('a script whose acts cannot be repeated beforehand stays cold, said once', async t => {
  const told = await run(setting(t, 'flags'));

  t.match(told.result, { outcome: 'succeeded' });
  t.strictSame(reasons(told, 'standby-trouble'), [
    'it changes dlopen flags before it imports heavy',
  ]);
});

t.test('a learned import that is no good: there are standbys without it', async t => {
  const bad = `${heavy}\nimport threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n`;
  const told = await run(setting(t, 'plain', { 'heavy.py': bad }), true);

  t.match(told.result, { outcome: 'succeeded' });
  t.match(reasons(told, 'standby-trouble'), [/started a Python thread/]);
  t.match(told.ready.at(-1), [undefined, undefined]);
});

t.test('a list that somebody else could have written is refused, said once', async t => {
  const made = setting(t, 'plain');
  await run(made);
  await keptList(made);
  chmodSync(made.cache, 0o777);

  const told = await run(made);

  t.match(told.result, { outcome: 'succeeded' });
  t.match(reasons(told, 'imports-not-kept'), [/somebody else can write to .*regroup$/]);
});

t.test('a home that takes no file: nothing is lost, said once', async t => {
  const made = setting(t, 'plain');
  writeFileSync(join(made.folder, 'home/.cache'), '');

  const told = await run(made);

  t.match(told.result, { outcome: 'succeeded' });
  t.match(reasons(told, 'imports-not-kept'), [/ENOTDIR/]);
  t.strictSame(told.ready[1], ['-', '-']);
});

t.test(
  'modules that are named are imported, nobody is learned from, and nothing is kept',
  async t => {
    const made = setting(t, 'plain');

    const told = await run({ ...made, options: { ...made.options, standbyModules: ['heavy'] } });

    t.match(told.result, { outcome: 'succeeded' });
    t.strictSame(told.ready[0], ['-', '-']);
    t.equal(read(join(made.folder, 'ran-0-0')), '0 0 - own');
    t.notOk(existsSync(made.cache));
  },
);

t.test('a cache on a dead disk holds no round up', { skip: noMuteDisk }, async t => {
  const made = setting(t, 'plain');
  const disk = muteDisk(t);
  const isAsked = await disk.mount(disk.folder);
  // Not HOME: Python itself would look for packages there.
  const env = { ...made.options.env, REGROUP_CACHE_DIR: disk.folder };

  const told = await run({ ...made, options: { ...made.options, env } });
  await isAsked();

  t.match(told.result, { outcome: 'succeeded' });
  t.strictSame(told.ready[1], ['-', '-'], 'what was learned is imported');
});

t.test('a cache on a dead disk keeps no program running', { skip: noMuteDisk }, async t => {
  const { folder, options } = setting(t, 'plain');
  const disk = muteDisk(t);
  const isAsked = await disk.mount(disk.folder);
  const env = { ...options.env, REGROUP_CACHE_DIR: disk.folder };
  const job = { ...options, env, args: [folder, 'plain', '0'] };
  const source = `
    const { launch } = await import('regroup');
    const { outcome } = await launch(${JSON.stringify(job)}).result;
    process.stdout.write(outcome);`;

  const program = [process.execPath, '--input-type=module', '-e', source];
  const { ended } = startProgram(t, program);
  await isAsked();

  t.match(await ended, { code: 0, stdout: 'succeeded' });
});

t.test('what a script has imported by its end is kept when its run has ended', async t => {
  const made = setting(t, 'more', { 'more.py': '' });

  const told = await run(made);

  t.match(told.result, { outcome: 'succeeded' });
  const [name = ''] = readdirSync(made.cache);
  const kept = JSON.parse(read(join(made.cache, name)) ?? '') as { modules: string[] };
  t.match(kept.modules, ['heavy', 'more']);
});

t.test('a package that is upgraded between rounds: the round is cold, said once', async t => {
  const made = setting(t, 'plain');
  const options = { ...made.options, standbyModules: ['heavy'], args: [made.folder, 'plain', '1'] };
  const run = launch(options);

  const troubles: string[] = [];
  const pids: (readonly number[])[] = [];
  for await (const event of run.events()) {
    if (event.event === 'standby-trouble') troubles.push(event.reason);
    if (event.event === 'round-started') pids.push(event.workers.map(({ pid }) => pid));
    if (event.event !== 'standbys-ready' || pids.length > 1) continue;
    pids.push(event.pids);
    const upgraded = heavy.replace('seed =', 'seed = "new" or');
    writeFileSync(join(made.folder, 'site-packages/heavy.py'), upgraded);
    writeFileSync(join(made.folder, 'crash-0'), '');
  }

  t.match(await run.result, { outcome: 'succeeded' });
  t.match(troubles, [/site-packages\/heavy\.py has changed since it was loaded$/]);
  for (const rank of [0, 1])
    t.match(read(join(made.folder, `ran-1-${rank}`)), /^0 0 new own$/, 'the upgraded one');
});
