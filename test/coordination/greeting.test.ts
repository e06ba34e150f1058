import t from 'tap';
import type { FrameAnswer } from '../../lib/coordination/frames.js';
import { createGreeting } from '../../lib/coordination/greeting.js';
import { agentProof, nonceBytes, serverProof } from '../../lib/coordination/proof.js';

// What a client of our server makes of its first answers.

const token = 'a token of the job';
const welcome = { type: 'welcome', version: 2, incarnation: '7', address: '' } as const;
const server = Buffer.alloc(nonceBytes, 's');

/** What's done about the last of these answers. */
function after(given: string | undefined, ...answers: readonly FrameAnswer[]) {
  const greeting = createGreeting(given);
  return answers.map(answer => greeting.hear(answer)).at(-1);
}

/** A greeting whose proof was sent, with both nonces. */
function proving() {
  const greeting = createGreeting(token);
  const next = greeting.hear({ ...welcome, nonce: server });
  if (next.do !== 'send' || next.request.ask !== 'proof') throw new Error(next.do);
  return { greeting, request: next.request, nonces: { server, agent: next.request.nonce } };
}

t.test('proofs are what the protocol says', async t => {
  // They are the same in test/native/coordination_token_test.cc.
  const nonces = { server, agent: Buffer.alloc(nonceBytes, 'a') };

  t.equal(
    agentProof(token, nonces).toString('hex'),
    '352eb88a4e404e0440566d17d985ae617e5873c2b38875ef4b3aef9aeaadee9f',
  );
  t.equal(
    serverProof(token, nonces).toString('hex'),
    '4973e7650903fdcd2b32f83a327692227ff2010253786d383c6965f0fe575cfd',
  );
});

t.test('without a token a welcome opens the connection', async t => {
  t.strictSame(after(undefined, welcome), { do: 'open', welcome });
});

t.test('with one both sides prove that they have it, by other nonces each time', async t => {
  const { greeting, request, nonces } = proving();
  t.strictSame(request.proof, agentProof(token, nonces));
  t.notSame(proving().request.nonce, request.nonce);
  t.notOk(JSON.stringify(request).includes(token));

  const proof = serverProof(token, nonces);

  t.strictSame(greeting.hear({ type: 'proved', proof }), {
    do: 'open',
    welcome: { ...welcome, nonce: server },
  });
});

t.test('a server that can prove nothing is no server of the job', async t => {
  for (const wrong of [
    (_: ReturnType<typeof proving>): FrameAnswer => ({ type: 'ok' }),
    ({ request }: ReturnType<typeof proving>): FrameAnswer => ({ type: 'proved', ...request }),
    ({ nonces }: ReturnType<typeof proving>): FrameAnswer => ({
      type: 'proved',
      proof: serverProof('another token of 16', nonces),
    }),
    (): FrameAnswer => ({ type: 'proved', proof: Buffer.alloc(0) }),
    (): FrameAnswer => welcome,
  ]) {
    const begun = proving();

    t.match(begun.greeting.hear(wrong(begun)), {
      do: 'end',
      because: 'token',
      why: /can't prove that it has this node's token/,
    });
  }
});

t.test('a token that only one side has, or another one, ends it with a sentence', async t => {
  const refused: FrameAnswer = { type: 'refused', why: 'wrong-token' };
  for (const [ended, why] of [
    [after(undefined, { ...welcome, nonce: server }), /takes only nodes with the job's token/],
    [after(token, welcome), /the server has no token, and this node has one/],
    [after(token, { ...welcome, nonce: server }, refused), /token is not the server's/],
  ] as const) {
    t.match(ended, { do: 'end', because: 'token', why });
    t.notOk(JSON.stringify(ended).includes(token));
  }
});

t.test('a server of another version is told as that, whoever has a token', async t => {
  for (const [own, answer, theirs] of [
    [token, { ...welcome, version: 1 }, 1],
    [undefined, { ...welcome, version: 1 }, 1],
    [undefined, { ...welcome, version: 3, nonce: server }, 3],
  ] as const) {
    t.strictSame(after(own, answer), {
      do: 'end',
      because: 'version',
      why: `the server is of another version of regroup (protocol ${theirs}, and ours is 2); give all nodes the same version`,
    });
  }
});

t.test('what is no server of ours is told as that', async t => {
  for (const [answer, why] of [
    [{ type: 'ok' }, /^it answers with something else than a welcome$/],
    [{ ...welcome, nonce: Buffer.alloc(5) }, /^it answers with a nonce of 5 bytes$/],
  ] as const) {
    t.match(after(token, answer), { do: 'end', because: 'stranger', why });
  }
});
