import t from 'tap';
import { choose } from '../../../lib/cli/control/choose.js';
import { parseControl } from '../../../lib/cli/control/line.js';
import type { ControlCommand } from '../../../lib/cli/control/names.js';
import { runsText } from '../../../lib/cli/text/control.js';
import type { FoundRun } from '../../../lib/control/find.js';

const parse = (text: string) => {
  const [command = '', ...argv] = text.split(' ');
  return parseControl(command as ControlCommand, argv); // the rows below name no other
};

t.test('what a command line asks for', t => {
  const none = { isJson: false, lines: 10, follows: false };
  const rows: readonly (readonly [string, object])[] = [
    ['ps', none],
    ['ps job --json', { ...none, run: 'job', isJson: true }],
    ['stop --run-id=job', { ...none, run: 'job' }],
    ['logs -f -n 3 --rank 0,2-4', { ...none, follows: true, lines: 3, ranks: [0, 2, 3, 4] }],
    ['dump 4711 --rank=7', { ...none, run: '4711', ranks: [7] }],
  ];
  for (const [text, line] of rows) t.strictSame(parse(text), { do: 'run', line }, text);
  t.same(parse('restart --help'), { do: 'help' });
  t.end();
});

t.test('F-U8 a wrong command line is refused, with what was meant', t => {
  const rows: readonly (readonly [string, string])[] = [
    ['stop --rank=1', "Unknown option '--rank'"],
    ['logs --folow', "Unknown option '--folow'; did you mean --follow?"],
    ['ps one two', 'one run at a time, and not two as well'],
    ['dump --rank=x', "--rank: 'x' is no list of ranks, as 0,3-5"],
    ['dump --rank=0-999999', "--rank: '0-999999' is no list"],
    ['dump --rank=3-1', "--rank: '3-1' is no list"],
    ['logs --lines=-1', ''],
    ['logs --lines=many', "--lines: 'many' is no number"],
  ];
  for (const [text, why] of rows) {
    const parsed = parse(text);
    t.equal(parsed.do, 'refuse', text);
    t.ok('why' in parsed && parsed.why.startsWith(why), JSON.stringify(parsed));
  }
  t.end();
});

const worker = { localRank: 0, state: 'running', ranMs: 61_000 } as const;

function run(pid: number, runId?: string): FoundRun {
  const socket = `/run/${pid}-x.sock`;
  if (runId === undefined) return { socket, pid };
  const status = {
    runId,
    name: 'train.py',
    host: 'node-a',
    pid,
    ranMs: 62_000,
    phase: 'running',
    round: 2,
    restartCount: 1,
    restartsLeft: 2,
    maxRestarts: 3,
    groupRank: 0,
    nodes: 1,
    worldSize: 1,
    workers: [{ ...worker, rank: 0, pid: pid + 1 }],
    logFolder: '/logs',
  };
  return { socket, pid, status };
}

t.test('the run that is meant is found by its id, the beginning of it, or its pid', t => {
  const runs = [run(10, 'alpha'), run(20, 'alpine'), run(30, 'al'), run(40)];
  const idOf = (wanted?: string, among = runs) => {
    const chosen = choose(among, wanted);
    return 'why' in chosen ? chosen.why : chosen.status.runId;
  };

  t.equal(idOf('alpine'), 'alpine');
  t.equal(idOf('alph'), 'alpha');
  t.equal(idOf('al'), 'al');
  t.equal(idOf('20'), 'alpine');
  t.equal(idOf(undefined, [run(10, 'alpha')]), 'alpha');
  t.equal(
    idOf('alp'),
    'there are several; name one:\n  alpha  train.py, pid 10\n  alpine  train.py, pid 20',
  );
  t.match(idOf(), /^there are several; name one:(\n.*){4}$/);
  t.equal(idOf('40'), "its agent, pid 40, doesn't answer");
  t.match(idOf('x'), /^no run x of this user has a control socket here:\n/);
  t.equal(idOf(undefined, []), 'no run of this user has a control socket here');
  t.end();
});

t.test('ps is a table', t => {
  t.equal(
    runsText([run(10, 'alpha'), run(40)]),
    `alpha  train.py on node-a, pid 10, for 1 min 02 s
  running; round 2; 2 of 3 restarts left; node 0 of 1, 1 workers in all
  logs: /logs
  rank  local  pid    state         for
     0      0   11  running  1 min 01 s

pid 40 doesn't answer`,
  );
  t.end();
});
