import t from 'tap';
import {
  learningPlan,
  misfit,
  orderMessages,
  proofPlan,
  standbyPlan,
  takenPlan,
} from '../../../lib/agent/standbys/plans.js';
import type { NativeGroupPlan, NativePlan } from '../../../lib/native/plan.js';
import { decodeMessages } from '../../../lib/preload/standby.js';

const tidyUp = { graceMs: 0, leaveDetached: false, lingering: [], devices: '/dev' };

function round(change: Partial<NativePlan> = {}, env: readonly string[] = []): NativeGroupPlan {
  const plan: NativePlan = {
    file: '/bin/python',
    argv: ['/bin/python', '-u', 't.py'],
    env: ['PATH=/bin', 'PYTHONPATH=/own', 'RANK=0', 'REGROUP_COOKIE=one', ...env],
    stdin: 'null',
    stdout: { to: 'pipe', console: 1 },
    stderr: { to: 'inherit' },
    ...change,
  };
  return { group: 4, cookie: 'one', plans: [plan], tailBytes: 1, drainMs: 2, tidyUp };
}

const named = {
  group: 99,
  cookie: 'two',
  acts: [
    ['module', 'json'],
    ['set', 'A=\udcff=1'],
    ['unset', 'B'],
    ['module', 'torch'],
  ],
} as const;

t.test('a standby is started as its worker, with the shim in front and its own cookie', t => {
  const { plans, group, cookie, parks } = standbyPlan(round(), named);
  const [plan] = plans;

  t.match({ group, cookie, parks }, { group: 99, cookie: 'two', parks: true });
  t.strictSame(plan?.argv, ['/bin/python', '-u', 't.py']);
  t.ok(plan?.env.includes('REGROUP_COOKIE=two'));
  t.ok(plan?.env.includes('REGROUP_STANDBY=1:3'));
  t.match(
    plan?.env.filter(entry => entry.startsWith('PYTHONPATH=')),
    [/^PYTHONPATH=\/.*standby:\/own$/],
  );
  t.end();
});

t.test('what the script does before its imports is done in its order', t => {
  const words = standbyPlan(round(), named).plans[0]?.standbyWords ?? Buffer.alloc(0);
  const order = ['json', 'set', 'A=\xff=1', 'unset', 'module'].map(each =>
    words.indexOf(Buffer.from(each, 'latin1'), words.indexOf('json')),
  );

  t.ok(
    order.every(at => at > 0),
    String(order),
  );
  t.strictSame(
    order,
    [...order].sort((a, b) => a - b),
  );
  t.end();
});

t.test('one worker of a round is learned from, and nothing else is changed', t => {
  const one = round();
  const two = { ...one, plans: [...one.plans, ...round({}, ['GPU=1']).plans] };
  const plan = learningPlan(two, { path: '/proc/7/fd/8', device: 5, inode: 6 });

  const [first, second] = plan.plans;
  t.strictSame({ ...plan, plans: [] }, { ...two, plans: [] });
  t.strictSame(second, two.plans[1]);
  const learn = first?.env.find(entry => entry.startsWith('REGROUP_LEARN='));
  t.match(learn, /^REGROUP_LEARN=5:6:RANK,\w+(,\w+)*:\/proc\/7\/fd\/8$/);
  t.match(learn, /,REGROUP_COOKIE,GPU:/, 'with what not all workers have');
  t.notMatch(learn, /PATH,|,PATH/);
  t.match(
    first?.env.filter(entry => entry.startsWith('PYTHONPATH=')),
    [/^PYTHONPATH=\/.*standby:\/own$/],
  );
  t.end();
});

t.test('the proof runs no script', t => {
  t.strictSame(proofPlan(round(), named).plans[0]?.argv, ['/bin/python', '-u', '-c', 'pass']);
  t.end();
});

t.test('an order has the environment, bytes and all, and the streams that are replaced', t => {
  const taken = takenPlan(round({}, ['BYTES=\udcff']), { group: 99, cookie: 'two' });
  const [order] = orderMessages(taken);
  const decoded = decodeMessages(order ?? Buffer.alloc(0));

  t.equal(taken.group, 99);
  if (decoded === 'malformed') throw new Error('it is malformed');
  const [message] = decoded.messages;
  t.strictSame(message?.get('stream')?.map(String), ['1']);
  t.strictSame(message?.get('argv')?.map(String), ['/bin/python', '-u', 't.py']);
  const env = message?.get('env') ?? [];
  t.ok(env.some(entry => entry.equals(Buffer.from('REGROUP_COOKIE=two'))));
  t.ok(env.some(entry => entry.equals(Buffer.from('BYTES=\xff', 'latin1'))));
  t.end();
});

t.test('standbys are for rounds that differ in what each round has anew, and for no others', t => {
  const standbys = standbyPlan(round(), named);
  const after = { ...round(), group: 5, cookie: 'three' };

  t.equal(misfit(standbys, after), undefined);
  t.equal(misfit(standbys, round({}, ['RANK=7'])), undefined);
  t.match(misfit(standbys, round({}, ['OMP_NUM_THREADS=2'])), /another OMP_NUM_THREADS/);
  t.match(misfit(standbys, round({ argv: ['/bin/python', 'u.py'] })), /in another way/);
  t.match(misfit(standbys, round({ cpus: [1] })), /in another way/);
  t.match(misfit(standbys, round({ stdout: { to: 'null' } })), /in another way/);
  t.match(misfit(standbys, { ...after, plans: [] }), /more or fewer/);
  t.end();
});
