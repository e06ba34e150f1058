import t from 'tap';
import { exitCodes } from '../../../lib/exit-codes.js';
import { deadDisk, noDeadDisk, sickProcess } from '../../dead-disk.js';
import { gone, isAlive, startCli } from '../../harness.js';

/** A process of somebody else hangs in the kernel, and so does whoever looks at it: `ps`, for one. */

const skip = noDeadDisk;

/** What the whole run does without. */
const disabled = process.env.REGROUP_DISABLE ?? '';
for (const disable of disabled === '' ? ['', 'cgroup'] : [disabled]) {
  const mode = disable === '' ? 'with all features' : `without ${disable}`;
  const env = { REGROUP_DISABLE: disable };

  t.test(`F-F03 F-N01 F-H3 beside a sick process, ${mode}`, { skip }, async t => {
    const disk = await deadDisk(t, 'flush');
    const running = startCli(t, ['--standalone', '--no-python', 'sh', '-c', 'echo up; read x'], {
      env,
      typing: true,
    });
    await running.line(/^up/);
    const killed = startCli(
      t,
      [
        '--standalone',
        '--no-python',
        'sh',
        '-c',
        '(setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo up $$$$ $$!); read x',
      ],
      { env, typing: true, mayLeave: /^torchelastic_/ },
    );
    const workers = (await killed.line(/^up/)).split(' ').slice(1).map(Number);
    t.match(workers, [Number, Number], 'a worker and its daemon');

    // It came after the jobs had begun: nothing tells that it isn't theirs but itself.
    const sick = await sickProcess(t, disk);

    running.type('go\n');
    t.match(await running.ended, { code: 0 }, 'a job that ends well ends');
    const stopped = startCli(t, ['--standalone', '--no-python', 'sh', '-c', 'echo up; read x'], {
      env,
      typing: true,
    });
    await stopped.line(/^up/);
    stopped.kill('SIGTERM');
    t.match(await stopped.ended, { code: 1, stderr: /SignalException/ }, 'a stop is heard');
    killed.kill('SIGKILL');
    await killed.ended;
    t.ok(await gone(workers));
    t.ok(isAlive(sick.pid), 'nobody has touched it');
    // What the guardian has left is found by the harness, once it may look itself.
    await disk.end();
    await sick.ended;
  });
}

t.test(
  'F-N04 a program that does not come back from its disk: a second signal ends the command',
  { skip },
  async t => {
    const disk = await deadDisk(t, 'lookup');
    const run = startCli(t, ['--standalone', '--no-python', `${disk.path}/train`], {
      mayLeave: /^torchelastic_/,
    });
    await disk.asked();

    run.kill('SIGINT');
    await run.line(/Received 2 death signal/);
    run.kill('SIGTERM');

    // Its streams end with the worker, which is the disk's end: later than the guardian has patience
    // to kill. It removes the cgroup all the same, or the runner finds that.
    const { code, stderr } = await run.ended;
    t.equal(code, exitCodes.nodeUnfit);
    t.match(
      stderr,
      /regroup: error: worker 0 could not start, and can't be stopped: exec \S+\/train doesn't come back/,
    );
  },
);
