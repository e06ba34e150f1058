import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type CliRun, startCli } from '../../harness.js';

/** Function workers wait for each other once their script has returned. */

/**
 * Rank 0 returns at once and says so before it tells the agent, and when it waits. Rank 1 ends by `how` when the test has
 * opened the gate. Python's atexit says who goes.
 */
function script(how: string): string {
  return `
import atexit, os, socket, sys
rank = os.environ["RANK"]

def say(what):
    sys.stdout.write(f"rank {rank} {what}\\n")
    sys.stdout.flush()

class Socket(socket.socket):
    def sendall(self, data):
        say("has returned")
        super().sendall(data)

    def recv(self, size):
        say("waits")
        return super().recv(size)

socket.socket = Socket
atexit.register(lambda: say("ends"))
if rank == "1":
    open(sys.argv[1]).read()
    say("goes on")
    ${how}
`;
}

/** @returns the command when rank 0 waits, and what lets rank 1 go on */
async function start(t: Test, how: string, flags: readonly string[] = []) {
  const folder = t.testdir({ 'script.py': script(how) });
  const gate = join(folder, 'gate');
  execFileSync('mkfifo', [gate]);
  const args = ['--standalone', '--nproc-per-node=2', ...flags, '--run-path'];
  const run: CliRun = startCli(t, [...args, join(folder, 'script.py'), gate], {
    mayLeave: /^torchelastic_/,
  });
  await run.line(/^rank 0 waits$/);
  return { run, goOn: () => writeFileSync(gate, 'on') };
}

const lines = (text: string): string[] => text.trim().split('\n');

for (const how of ['pass', 'sys.exit(0)', 'sys.exit()']) {
  t.test(`F-P1: a worker that has returned lives until the other has, too: ${how}`, async t => {
    const { run, goOn } = await start(t, how);

    goOn();
    const { code, stdout } = await run.ended;

    t.equal(code, 0);
    const said = lines(stdout);
    t.ok(said.indexOf('rank 0 ends') > said.indexOf('rank 1 has returned'), stdout);
    t.ok(said.indexOf('rank 1 has returned') > said.indexOf('rank 1 goes on'), stdout);
  });
}

t.test('F-P1: one that ends without returning is not waited for', async t => {
  const { run, goOn } = await start(t, 'os._exit(0)');

  goOn();
  const { code, stdout } = await run.ended;

  t.equal(code, 0);
  t.strictSame(lines(stdout), [
    'rank 0 has returned',
    'rank 0 waits',
    'rank 1 goes on',
    'rank 0 ends',
  ]);
});

t.test('F-P1: one that fails ends the round at once, and who waits is its victim', async t => {
  const { run, goOn } = await start(t, 'sys.exit(3)');

  goOn();
  const { code, stderr } = await run.ended;

  t.equal(code, 1);
  t.match(stderr, /rank {6}: 0 \(local_rank: 0\)\n {2}exitcode {2}: -15/);
  t.match(stderr, /Root Cause.*\n\[\d\]:\n(.*\n){2} {2}rank {6}: 1 .*\n {2}exitcode {2}: 3 /);
});

t.test('F-P1: who waits has nothing to say, and does not hang for that', async t => {
  const pattern = 'rank . (waits|is here)';
  const rules = ['--expect', pattern, '--every=300ms', '--first-progress=1h', '--on-hang=notify'];
  const how = 'say("is here"); open(sys.argv[1]).read()';
  const { run, goOn } = await start(t, how, rules);

  goOn();
  // Its line is the later one: had rank 0 been looked at still, that would have been told before.
  await run.line(/^regroup: worker 1 .* hangs/);
  goOn();
  const { code, stderr } = await run.ended;

  t.equal(code, 0);
  t.notMatch(stderr, /worker 0 .* hangs/);
});
