// Claim: with --prestart the workers of a node that has waited for others don't import when the last one comes.
//
// Two agents on this machine; the second one's command comes 3 s behind the first one's. What it does itself, starting and
// importing, goes on beside the first one's workers, as on two machines it wouldn't.
import path from 'node:path';
import { collect, interleave, ms, row, sleep, startNode, summarise } from './lib.mjs';
import { workersDir } from './machine.mjs';
import { freePort } from './nodes.bench.mjs';

export const name = 'prestart';

const nproc = 2;
const lateMs = 3000;
const worker = { script: path.join(workersDir, 'torch_ready.py') };
const flags = ['--prestart', '--standby-modules=torch,torch.distributed'];

export async function run({ launchers, scale }) {
  const samples = collect();
  const [regroup] = launchers.filter(l => l.name === 'regroup');
  const variants = [
    ...launchers
      .filter(l => l.name === 'torchrun')
      .map(launcher => ({ launcher, name: launcher.name })),
    ...(regroup === undefined
      ? []
      : [
          { launcher: regroup, name: 'without' },
          { launcher: regroup, name: regroup.name, flags },
        ]),
  ];
  await interleave(variants, scale(10), (variant, i) =>
    comesLate(variant, i < 0 ? undefined : samples),
  );

  const what = `2 nodes, the second ${lateMs / 1000} s late: its command →`;
  return [
    row({
      what: `${what} the first one's workers have imported torch`,
      samples: samples.of('first'),
      target: { text: '0.3 × without', limit: (_, { without }) => 0.3 * without?.p50 },
      note: `regroup without --prestart: ${summarise(samples.of('first').without)?.p50} ms`,
    }),
    row({ what: `${what} all workers have`, samples: samples.of('all') }),
  ];
}

async function comesLate({ launcher, name, flags }, samples) {
  const port = await freePort();
  const more = flags === undefined ? {} : { flags };
  const job = { nproc, nnodes: '2', maxRestarts: 0, worker, env: {}, port, ...more };
  const nodes = [startNode(launcher, job)];
  try {
    await nodes[0].until('start'); // the command's own
    await sleep(lateMs);
    nodes.push(startNode(launcher, job));
    const [first, second] = await Promise.all(
      nodes.map(node => node.until('ready', { count: nproc })),
    );
    const { startedNs } = nodes[1];
    samples?.add('first', name, ms(lastOf(first) - startedNs));
    samples?.add('all', name, ms(lastOf([...first, ...second]) - startedNs));
  } finally {
    for (const node of nodes) node.abandon();
  }
}

const lastOf = lines => Math.max(...lines.map(({ ns }) => ns));
