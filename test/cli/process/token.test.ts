import { chmodSync } from 'node:fs';
import t, { type Test } from 'tap';
import { tokenGiven } from '../../../lib/cli/process/token.js';

// Where a command takes the job's token from. Of what's refused nothing is shown.

const token = 's3cret'.repeat(4);

function given(t: Test, content: string | Buffer, mode = 0o600) {
  const path = `${t.testdir({ token: content })}/token`;
  chmodSync(path, mode);
  const read = tokenGiven(path, '--token-file', { REGROUP_TOKEN: 'x'.repeat(16) });
  return 'why' in read ? { ...read, why: read.why.replaceAll(path, 'FILE') } : read;
}

t.test("a token is a file's text without the white space around it", async t => {
  for (const content of [token, `${token}\n`, `\r\n\t ${token} \r\n`, `\uFEFF${token}\n`])
    t.strictSame(given(t, content), { token });
  t.strictSame(given(t, `with a space of ${token}\n`), { token: `with a space of ${token}` });
  t.strictSame(given(t, 'x'.repeat(4096)), { token: 'x'.repeat(4096) });
  t.strictSame(given(t, token, 0o400), { token });
});

t.test('what is empty, short, long or no text is no token', async t => {
  const strange = "it has other characters than ASCII's printable ones";
  for (const [content, why] of [
    ['', 'it is empty'],
    [' \n', 'it is empty'],
    ['s3cret\n', 'a token of 6 characters may be guessed'],
    ['s3cret'.repeat(100_000), 'it has more than 4096 characters'],
    [`${token}\n${token}\n`, strange],
    [`${token}\0`, strange],
    [`${token}é`, strange],
    // Read as UTF-8, all such bytes would be the same character.
    [Buffer.alloc(32, 0xab), strange],
  ] as const) {
    const found = given(t, content);

    t.match(found, { from: '--token-file', why: `FILE: ${why}`, accepted: /^16 to 4096 char/ });
    t.notMatch(JSON.stringify(found), 's3cret');
  }
});

t.test('a file that others may read or write is refused, as ssh refuses keys', async t => {
  for (const mode of [0o644, 0o640, 0o620, 0o601, 0o660, 0o602]) {
    t.match(given(t, token, mode), {
      why: `others than its owner may read or write FILE, whose mode is 0${mode.toString(8)}`,
      accepted: /chmod 600/,
    });
  }
  // A device keeps nothing that others could read.
  t.match(tokenGiven('/dev/null', '', {}), { why: '/dev/null: it is empty' });
});

t.test('a path that leads to no file is named with what is wrong', async t => {
  const folder = t.testdir({});
  t.match(tokenGiven(folder, '', {}), { why: `${folder} can't be read (EISDIR)` });
  t.match(tokenGiven(`${folder}/none`, '', {}), { why: `${folder}/none can't be read (ENOENT)` });
});

t.test("without a file it's the environment's", async t => {
  t.strictSame(tokenGiven(undefined, '', { REGROUP_TOKEN: `${token}\n` }), { token });
  for (const none of [{}, { REGROUP_TOKEN: '' }])
    t.strictSame(tokenGiven(undefined, '', none), { token: undefined });
  for (const [variable, why] of [
    [' ', 'it is empty'],
    ['s3cret', 'a token of 6 characters may be guessed'],
    // As Node has bytes that are no text.
    [`${token}\uFFFD`, "it has other characters than ASCII's printable ones"],
  ] as const) {
    t.match(tokenGiven(undefined, '', { REGROUP_TOKEN: variable }), { from: 'REGROUP_TOKEN', why });
  }
});
