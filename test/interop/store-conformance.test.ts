import t, { type Test } from 'tap';
import { type Ended, serveStore, startProgram } from '../harness.js';
import { releases, type Torch, torchOrSkip } from './torch.js';

// PyTorch's own client is the judge of our store: it must see the same as at PyTorch's own server.
// T-001…T-006, T-014…T-019, T-021…T-050, T-053…T-057, T-060, T-074, T-080, T-081.

t.setTimeout(850_000);

/** Where our store answers otherwise, and why that is better. */
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

/** The address of a store of ours, with an empty table. */
async function serve(t: Test): Promise<string> {
  const { host, port } = await serveStore(t);
  return `${host}:${port}`;
}

function python(t: Test, torch: Torch, script: string, ...args: string[]): Promise<Ended> {
  return startProgram(t, [torch.python, `test/interop/${script}`, ...args], {
    env: { OMP_NUM_THREADS: '1', TORCH_CPP_LOG_LEVEL: 'ERROR' },
  }).ended;
}

for (const release of releases) {
  t.test(`the client of PyTorch ${release}`, async t => {
    const torch = torchOrSkip(t, release);
    if (!torch) return;

    t.test("sees the same at our store as at PyTorch's", async t => {
      const script = 'store_conformance.py';
      const stock = await python(t, torch, script, 'own');
      const ours = await python(t, torch, script, await serve(t));
      t.equal(stock.code, 0) || t.comment(stock.stderr);
      t.equal(ours.code, 0) || t.comment(ours.stderr);

      const expected = JSON.parse(stock.stdout) as Record<string, unknown>;
      const seen = JSON.parse(ours.stdout) as Record<string, unknown>;
      t.ok(Object.keys(expected).length >= 40, 'all cases ran');
      for (const [name, value] of Object.entries(expected)) {
        const reason = differences[release][name];
        if (reason === undefined) t.strictSame(seen[name], value, name);
        else t.not(JSON.stringify(seen[name]), JSON.stringify(value), `${name}: ${reason}`);
      }
    });

    for (const world of [2, 8, 64]) {
      t.test(`T-072 ${world} ranks of gloo meet at our store`, async t => {
        const { stdout, stderr, code } = await python(
          t,
          torch,
          'gloo_many.py',
          await serve(t),
          `${world}`,
        );

        t.equal(code, 0) || t.comment(stderr.slice(-4000));
        t.equal(stdout, `${world} ranks: done\n`);
      });
    }
  });
}
