import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { connectStore } from '../../lib/store/client.js';
import { type CliRun, type Ended, startProgram } from '../harness.js';
import { forkingPython } from './forks.js';
import { releases, root, type Torch, torchOrSkip } from './torch.js';

// The store over shared memory, from Python: as a client and as torch's store.
// T-021…T-050, T-053…T-057, T-093.

t.setTimeout(850_000);

const storeMain = join(root, 'build/native-tests/store_main');
const library = join(root, 'build/Release/regroup_shm.so');

/** Where shared memory answers otherwise than PyTorch's own store, and why. */
const differences: Readonly<Record<Torch['release'], Readonly<Record<string, string>>>> = {
  newest: {
    wait_not_woken_by_a_failed_compare_set:
      'T-043: stock wakes a waiter although nothing was stored, and it finds no key',
  },
  '1.13': {
    wait_woken_by_compare_set:
      "T-043: stock doesn't wake a waiter whose key compare_set has created",
    too_large_value: 'stock takes whatever its memory holds, and so can one client end the job',
  },
};

const env = {
  PYTHONPATH: join(root, 'python'),
  PYTHONDONTWRITEBYTECODE: '1',
  REGROUP_SHM: library,
  STORE_MAIN: storeMain,
  OMP_NUM_THREADS: '1',
  TORCH_CPP_LOG_LEVEL: 'ERROR',
};

/** A server by itself; it ends with the test. */
async function serve(t: Test): Promise<{ port: string; name: string }> {
  const server = startProgram(t, [storeMain], { typing: true });
  t.teardown(async () => {
    server.type();
    await server.ended;
  });
  const [, address = '', name = ''] = (await server.line(/^ready /)).split(' ');
  return { port: address.split(':').at(-1) ?? '', name };
}

function python(
  t: Test,
  torch: Torch,
  script: string,
  args: readonly string[],
  added: Readonly<Record<string, string | undefined>> = {},
): CliRun {
  return startProgram(t, [torch.python, `test/interop/${script}`, ...args], {
    env: { ...env, ...added },
  });
}

const failed = (t: Test, { stdout, stderr }: Ended) =>
  t.comment(`${stdout}\n${stderr}`.slice(-6000));

const casesOf = (script: string): string[] =>
  [
    ...readFileSync(join(root, 'test/interop', script), 'utf8').matchAll(/^@case\ndef (\w+)/gm),
  ].flatMap(([, name]) => name ?? []);

for (const script of ['shm_clients.py', 'shm_faults.py']) {
  t.test(`the client of ${script}`, async t => {
    const torch = torchOrSkip(t, 'newest');
    if (!torch) return;
    t.ok(existsSync(storeMain), 'the stand-alone server is built');

    for (const name of casesOf(script)) {
      t.test(name.replaceAll('_', ' '), async t => {
        const ended = await python(t, torch, script, [name]).ended;

        t.equal(ended.code, 0) || failed(t, ended);
        if (ended.stdout.startsWith('left out')) t.comment(ended.stdout);
        else t.equal(ended.stdout, `${name}: held\n`);
      });
    }
  });
}

t.test('T-005 a key is the same one from Python as from Node', async t => {
  const torch = torchOrSkip(t, 'newest');
  if (!torch) return;
  const { name, port } = await serve(t);
  const store = await connectStore({ host: '127.0.0.1', port: Number(port), countAsWorker: true });
  t.teardown(() => store.close());
  await store.multiSet([
    ['from node', '1'],
    ['/led', '2'],
    ['init/', 'a user key'],
  ]);
  await store.queuePush('queue', 'first');
  const script = [
    'import sys',
    'from regroup.store import Client',
    'store = Client.connect(sys.argv[1], count_as_worker=True)',
    'keys = ["from node", b"/led", "init/"]',
    'assert [store.get(key) for key in keys] == [b"1", b"2", b"a user key"]',
    'assert store.multi_get(keys) == [b"1", b"2", b"a user key"] and store.check(keys)',
    'store.wait(iter(keys))',
    'assert store.try_get("/from node") is None and store.queue_pop("queue") == b"first"',
    'assert store.multi_get("from node") == [b"1"]',
    'assert sorted(store.list_keys()) == [b"/led", b"from node", b"init/"]',
    'assert store.num_keys() == 4',
    'store.set("from python", "x"), store.append(b"from python", b"y")',
    'assert store.add("sum", 2) == 2 and store.delete_key("/led")',
    'assert store.compare_set("init/", "a user key", "swapped") == b"swapped"',
  ];

  const run = startProgram(t, [torch.python, '-c', script.join('\n'), name], { env });
  const ended = await run.ended;

  t.equal(ended.code, 0) || failed(t, ended);
  t.equal(`${await store.get('from python')}`, 'xy');
  t.equal(await store.add('sum', 1), 3n);
  t.equal(`${await store.get('init/')}`, 'swapped');
  t.notOk(await store.check('/led'));
});

t.test('the files for workers parse in the oldest Python that they are for', async t => {
  const torch = torchOrSkip(t, 'newest');
  if (!torch) return;
  const parse =
    'import ast, sys; [ast.parse(open(f).read(), f, feature_version=(3, 8)) for f in sys.argv[1:]]';
  const files = readdirSync('python', { recursive: true, encoding: 'utf8' });
  const sources = files.filter(name => name.endsWith('.py')).map(name => `python/${name}`);
  const run = startProgram(t, [torch.python, '-c', parse, ...sources]);

  t.ok(sources.length > 8);
  t.equal((await run.ended).code, 0);
});

t.test('the package has the modules of their earlier names, too', async t => {
  const torch = torchOrSkip(t, 'newest');
  if (!torch) return;
  const same = [
    'import regroup.store, regroup.torch, regroup_store, regroup_torch',
    'assert regroup_store.Client is regroup.store.Client',
    'assert regroup_torch.connect_store is regroup.torch.connect_store',
  ];
  const env = { PYTHONPATH: join(root, 'python'), PYTHONDONTWRITEBYTECODE: '1' };
  const run = startProgram(t, [torch.python, '-c', same.join('\n')], { env });

  t.match(await run.ended, { code: 0, stderr: '' });
});

for (const release of releases) {
  t.test(`torch's store over shared memory, PyTorch ${release}`, async t => {
    const torch = torchOrSkip(t, release);
    if (!torch) return;

    t.test("sees the same as at PyTorch's own", async t => {
      const { name: where } = await serve(t);
      const stock = await python(t, torch, 'store_conformance.py', ['own']).ended;
      const ours = await python(t, torch, 'store_conformance.py', [where]).ended;
      t.equal(stock.code, 0) || failed(t, stock);
      t.equal(ours.code, 0) || failed(t, ours);

      const expected = JSON.parse(stock.stdout) as Record<string, unknown>;
      const seen = JSON.parse(ours.stdout) as Record<string, unknown>;
      t.ok(Object.keys(expected).length >= 40, 'all cases ran');
      for (const [name, value] of Object.entries(expected)) {
        const reason = differences[release][name];
        // What this release's own client can't be asked for, ours can.
        if (`${value}`.startsWith('absent')) t.notMatch(seen[name], /^absent/, name);
        else if (reason === undefined) t.strictSame(seen[name], value, name);
        else t.not(JSON.stringify(seen[name]), JSON.stringify(value), `${name}: ${reason}`);
      }
    });

    for (const world of [2, 4]) {
      t.test(
        `${world} ranks of gloo meet there${world > 2 ? ', the last one over TCP' : ''}`,
        async t => {
          const { port, name } = await serve(t);
          // Two by the interpreter itself; of more, which import torch once for all, the store is the subject.
          const by = world === 2 ? torch : { ...torch, python: await forkingPython(t, torch) };
          const ranks = Array.from({ length: world }, (_, rank) =>
            python(t, by, 'gloo_shared.py', [], {
              REGROUP_STORE: world > 2 && rank === world - 1 ? '@nobody' : name,
              RANK: `${rank}`,
              WORLD_SIZE: `${world}`,
              MASTER_ADDR: '127.0.0.1',
              MASTER_PORT: port,
              TORCHELASTIC_USE_AGENT_STORE: 'True',
            }),
          );

          for (const [rank, { ended }] of ranks.entries()) {
            const { code, stdout, stderr } = await ended;
            const overTcp = world > 2 && rank === world - 1;
            t.equal(code, 0) || t.comment(stderr.slice(-4000));
            t.equal(stdout, `rank ${rank}: done, ${overTcp ? 'TCPStore' : 'SharedMemoryStore'}\n`);
            const reasons = stderr.match(/^regroup: the store is used over TCP: .*@nobody/gm) ?? [];
            t.equal(reasons.length, overTcp ? 1 : 0, 'the reason is said once');
          }
        },
      );
    }
  });
}
