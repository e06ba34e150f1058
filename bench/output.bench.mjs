// Claim: with --tee, 2 × 200,000 prefixed lines are on the console 0.1 × torchrun's time after the last
// was printed, each whole and each once.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { collect, interleave, ms, row, startJob } from './lib.mjs';
import { workersDir } from './machine.mjs';

export const name = 'output';

const nproc = 2;
const printer = { script: path.join(workersDir, 'printer.py') };

/** Lines of the console that are no whole line of one worker, and lines that never came. */
function inspect(file, linesPerWorker) {
  const expected = /^\[default(\d)\]:line (\d) (\d+) x{40}$/;
  const seen = Array.from({ length: nproc }, () => new Uint8Array(linesPerWorker));
  let torn = 0;
  let whole = 0;
  for (const line of fs.readFileSync(file, 'latin1').split('\n')) {
    const match = expected.exec(line);
    if (match && match[1] === match[2] && Number(match[3]) < linesPerWorker) {
      whole += 1 - seen[Number(match[2])][Number(match[3])];
      seen[Number(match[2])][Number(match[3])] = 1;
    } else if (line !== '') torn++;
  }
  return { torn, missing: nproc * linesPerWorker - whole };
}

export async function run({ launchers, scale, quick }) {
  const linesPerWorker = quick ? 20_000 : 200_000;
  const samples = collect();
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'regroup-bench-output-'));
  const stdout = path.join(dir, 'console');

  const measure = async (launcher, i) => {
    const job = startJob(launcher, {
      nproc,
      worker: printer,
      flags: ['--tee=3', `--log-dir=${path.join(dir, `${launcher.name}-${i}`)}`],
      env: { BENCH_LINES: String(linesPerWorker) },
      stdout,
    });
    const printed = await job.until('printed', { count: nproc });
    const end = await job.ended([0]);
    job.abandon();
    const { torn, missing } = inspect(stdout, linesPerWorker);
    if (i < 0) return;
    const last = Math.max(...printed.map(s => s.ns));
    samples.add('end', launcher.name, ms(end.ns - last));
    samples.add('whole', launcher.name, ms(end.ns - job.startedNs));
    samples.add('torn', launcher.name, torn);
    samples.add('missing', launcher.name, missing);
  };
  // Without the floor: it has no prefixes to add.
  const measured = launchers.filter(l => !l.old && l.name !== 'floor');
  await interleave(measured, scale(4), measure, { warmUp: 0 });
  fs.rmSync(dir, { recursive: true, force: true });

  const torchrun = samples.of('end').torchrun;
  const limit = () =>
    torchrun ? 0.1 * [...torchrun].sort((a, b) => a - b)[torchrun.length >> 1] : NaN;
  return [
    row({
      what: `tee with prefixes, 2 × ${linesPerWorker.toLocaleString('en')} lines: last line → command ends`,
      samples: samples.of('end'),
      target: { text: '0.1 × torchrun', limit },
    }),
    row({ what: 'the same: command → command ends', samples: samples.of('whole') }),
    row({
      what: 'the same: torn lines',
      unit: 'lines',
      samples: samples.of('torn'),
      stat: 'max',
      target: { text: 'none', limit: () => 0 },
    }),
    row({
      what: 'the same: lines lost from the console',
      unit: 'lines',
      samples: samples.of('missing'),
      stat: 'max',
      target: { text: 'none', limit: () => 0 },
    }),
  ];
}
