// Claim: io_uring in epoll's place wouldn't bring the store to 0.4 × PyTorch's time for 4,000 connects, nor to
// 0.5 × for 10,000 through a barrier. Needs liburing (Debian: liburing-dev).
import { collect, interleave, row } from './lib.mjs';
import { compile } from './machine.mjs';
import { load, nextRound, startProgram, withServers } from './store.mjs';
import { sizes } from './store-meet.bench.mjs';

export const name = 'uring';

const ring = { name: 'floor-uring', label: 'floor, io_uring' };

export async function run({ launchers, scale }) {
  const samples = collect();
  const modern = launchers.filter(l => !l.old);
  const echo = compile('store_echo_uring.c', { libraries: ['-luring'] });

  await withServers(modern, { sizes }, async servers => {
    const onRing = await startProgram([echo, '10:4', ...sizes]);
    servers.set(ring.name, { ...onRing, dialect: 'echo' });
    const measure = async ({ name }) => {
      const server = servers.get(name);
      const one = await load(server, 'connect', { clients: 4_000 });
      samples.add('connect', name, one.seconds * 1_000);
      samples.add('connect cpu', name, one.cpuUs);
      const all = await load(server, 'meet', { clients: 10_000, round: nextRound() });
      samples.add('meet', name, all.seconds * 1_000);
      samples.add('meet cpu', name, all.cpuUs);
    };
    await interleave([...modern, ring], scale(7), measure, { warmUp: 0 });
  });

  const cpu = { what: "the same: the server's CPU time per client", unit: 'µs', detail: true };
  return [
    row({
      what: 'store: 4,000 clients connected, one after the other',
      samples: samples.of('connect'),
    }),
    row({ ...cpu, samples: samples.of('connect cpu') }),
    row({
      what: 'store: 10,000 clients connect at once, all through a barrier',
      samples: samples.of('meet'),
    }),
    row({ ...cpu, samples: samples.of('meet cpu') }),
  ];
}
