import t from 'tap';
import { type LingerSurroundings, linger } from '../../../lib/agent/stock/linger.js';

// How long whoever has the store stays for the others, by a clock that only pauses move.

type Visitors = ReturnType<LingerSurroundings['visitors']>;

/** How long it stays, at most 10 s, with what is there at each time. */
async function staysMs(visitors: (atMs: number) => Visitors, hurriedAtMs = Infinity) {
  let atMs = 0;
  await linger(
    {
      visitors: () => visitors(atMs),
      isHurried: () => atMs >= hurriedAtMs,
      nowMs: () => atMs,
      pause: async ms => {
        atMs += ms;
      },
    },
    10_000,
  );
  return atMs;
}

/** An agent that looks once a second, and goes. */
const looks = (goneAtMs: number) => (atMs: number) => ({
  clients: atMs < goneAtMs ? 1 : 0,
  bytesIn: 100 * Math.floor(Math.min(atMs, goneAtMs) / 1_000),
});

t.test('R-005 whoever has the store stays until the last agent has gone', async t => {
  t.equal(await staysMs(looks(0)), 0, 'nobody is there');
  t.equal(await staysMs(looks(4_500)), 4_500);
  t.equal(await staysMs(looks(60_000)), 10_000, 'no longer than it may');
});

t.test('R-005 a stranger that asks for nothing keeps it for two seconds', async t => {
  t.equal(await staysMs(() => ({ clients: 1, bytesIn: 7 })), 2_000);
  const beside = (atMs: number): Visitors => {
    const { clients, bytesIn } = looks(3_500)(atMs);
    return { clients: clients + 1, bytesIn };
  };
  t.equal(await staysMs(beside), 5_000, 'from the last question of an agent on, at 3 s');
});

t.test('R-005 a stop signal ends it', async t => {
  t.equal(await staysMs(looks(60_000), 1_000), 1_000);
});
