// Launches a training from a program of your own, without the command line.
//
//   node examples/embed.mjs
import { launch } from 'regroup';

const run = launch({
  entrypoint: { script: 'examples/hello.py' },
  nprocPerNode: 2,
  maxRestarts: 1,
  signal: AbortSignal.timeout(60_000),
});

for await (const event of run.events()) {
  if (event.event === 'worker-exited') console.log(event.worker.rank, event.exit);
}
const result = await run.result;
console.log(result.outcome);
process.exitCode = result.outcome === 'succeeded' ? 0 : 1;
