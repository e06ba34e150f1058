import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { exitCodes } from '../../../lib/exit-codes.js';
import {
  bareCommand,
  type CliOptions,
  commandPath,
  runCli,
  serveStore,
  startProgram,
} from '../../harness.js';

/** What a worker that's a shell prints. */
function shell(script: string): readonly string[] {
  return ['--standalone', '--no-python', 'sh', '-c', script];
}

const { engines } = JSON.parse(readFileSync('package.json', 'utf8')) as {
  engines: { node: string };
};
const neededNode = engines.node.replace('>=', '');

t.test('what ps, pgrep and pkill call it', async t => {
  const names = "cat /proc/$PPID/comm; tr '\\0' ' ' < /proc/$PPID/cmdline";

  t.test('F-H9 regroup, with its arguments behind', async t => {
    const { stdout } = await runCli(t, shell(names));

    t.match(stdout, /^regroup\nregroup \S+\/regroup\.cjs --standalone --no-python sh -c /);
  });

  t.test('F-H9 and the other commands by theirs', async t => {
    const args = ['--use-env', ...shell(names)];
    const { stdout } = await runCli(t, args, { command: 'regroup-launch' });
    const { run } = await serveStore(t);

    t.match(stdout, /^regroup-launch\nregroup-launch /);
    t.equal(readFileSync(`/proc/${run.pid}/comm`, 'utf8'), 'regroup-store\n');
  });

  t.test('F-H9 and that by Node alone as well', async t => {
    const { stdout } = await startProgram(t, [...bareCommand(), ...shell(names)]).ended;

    t.match(stdout, /^regroup\n/);
  });
});

t.test("variables of Node's", async t => {
  const odd = {
    NODE_OPTIONS: '--no-such-option --disallow-code-generation-from-strings',
    NODE_EXTRA_CA_CERTS: '/nonexistent/certificates',
    NODE_PATH: '/a:/b',
    NODE_RANK: '0',
    NODE_V8_COVERAGE: '',
  };

  t.test('F-F18 f reach workers, and not the agent', async t => {
    const ended = await runCli(t, shell('env'), { env: odd });

    t.match(ended, { code: 0, stderr: '' });
    const lines = ended.stdout.split('\n');
    for (const [name, value] of Object.entries(odd)) t.ok(lines.includes(`${name}=${value}`), name);
  });

  t.test('and no worker sees how the two are kept apart', async t => {
    const { stdout } = await runCli(t, shell('env'), { env: { ...odd, REGROUP_FRONTIER: 'x' } });

    t.same(stdout.match(/^REGROUP_FRONT.*/gm), ['REGROUP_FRONTIER=x']);
  });

  t.test('a note in the environment that is not ours says nothing', async t => {
    const env = { REGROUP_FRONT: '1 1 0 10', REGROUP_FRONT_NODE_PATH: '/x' };
    const script = 'env | grep REGROUP_FRONT; grep SigIgn /proc/self/status';

    for (const command of [[commandPath()], bareCommand()]) {
      const { stdout } = await startProgram(t, [...command, ...shell(script)], { env }).ended;
      t.equal(stdout, `SigIgn:\t${'0'.repeat(16)}\n`);
    }
  });
});

/** A package of its own whose command is `script`, run by what `files` and links beside it say. */
function packageOf(t: Test, script: string): { readonly command: string; readonly folder: string } {
  const folder = t.testdir({});
  const command = join(folder, 'regroup');
  copyFileSync(commandPath(), command);
  writeFileSync(`${command}.cjs`, script);
  return { command, folder };
}

const nodeFolder = dirname(process.execPath);
const tellNode = 'console.log(process.argv0, process.execPath, process.argv.slice(2).join())';

t.test('Node', async t => {
  const start = (t: Test, command: string, env: CliOptions['env'], under: readonly string[] = []) =>
    startProgram(t, [command, 'a', 'b c'], { env: { REGROUP_NODE: undefined, ...env }, under })
      .ended;

  t.test('is the first on PATH, as for any script', async t => {
    const { command, folder } = packageOf(t, tellNode);
    mkdirSync(join(folder, 'other/node'), { recursive: true });
    const path = `/nonexistent:${folder}/other:${folder}/regroup.cjs:${nodeFolder}:/usr/bin`;
    const ended = await start(t, command, { PATH: path });

    t.match(ended, { code: 0, stdout: `regroup ${process.execPath} a,b c\n` });
  });

  t.test('is the one beside the command rather than that', async t => {
    const { command, folder } = packageOf(t, 'echo "beside: $@"');
    copyFileSync('/bin/sh', join(folder, 'node'));

    t.match(await start(t, command, {}), { code: 0, stdout: 'beside: a b c\n' });
  });

  t.test('is the one that REGROUP_NODE names rather than any', async t => {
    const { command, folder } = packageOf(t, tellNode);
    copyFileSync('/bin/false', join(folder, 'node'));
    const stdout = `regroup ${process.execPath} a,b c\n`;

    t.match(await start(t, command, { REGROUP_NODE: process.execPath }), { code: 0, stdout });
    const byName = { REGROUP_NODE: 'node', PATH: nodeFolder };
    t.match(await start(t, command, byName), { code: 0, stdout });
    const asUnset = { REGROUP_NODE: '', PATH: nodeFolder };
    t.match(await start(t, command, asUnset), { code: 1, stdout: '' });
  });

  t.test('is called node where its name leads to a program that goes by it', async t => {
    const { command, folder } = packageOf(t, "tr '\\0' ' ' < /proc/$$/cmdline");
    mkdirSync(join(folder, 'shims'));
    symlinkSync('/bin/sh', join(folder, 'shims/node'));
    mkdirSync(join(folder, 'real'));
    copyFileSync('/bin/sh', join(folder, 'real/node-20'));
    symlinkSync('node-20', join(folder, 'real/node'));
    const paths = ['shims', 'real'].map(name => ({ PATH: `${folder}/${name}:/usr/bin:/bin` }));

    const said = await Promise.all(paths.map(env => start(t, command, env)));

    t.match(said[0]?.stdout, /^node \S+\/regroup\.cjs a b c $/);
    t.match(said[1]?.stdout, /^regroup \S+\/regroup\.cjs a b c $/);
  });

  t.test('that is missing is told in one sentence, and by a code of its own', async t => {
    const { command } = packageOf(t, '');
    const needs = `; regroup runs on Node.js ${neededNode} or newer, on PATH or named by REGROUP_NODE\n`;
    const rows = [
      [{ PATH: '/nonexistent' }, 'there is no node on PATH', exitCodes.noNode],
      [
        { REGROUP_NODE: '/nonexistent/node' },
        "REGROUP_NODE=/nonexistent/node can't be run: no such file",
        exitCodes.noNode,
      ],
      [
        { REGROUP_NODE: 'nonexistent' },
        "REGROUP_NODE=nonexistent can't be run: no such file",
        exitCodes.noNode,
      ],
      [
        { REGROUP_NODE: '/etc/passwd' },
        "REGROUP_NODE=/etc/passwd can't be run: permission denied",
        exitCodes.nodeUnusable,
      ],
    ] as const;

    for (const [env, why, code] of rows) {
      const ended = await start(t, command, env);
      t.match(ended, { code, stdout: '', stderr: `regroup: ${why}${needs}` }, why);
    }
  });

  t.test('that is no program is told as well', async t => {
    const { command, folder } = packageOf(t, '');
    const path = join(folder, 'node');
    writeFileSync(path, 'text', { mode: 0o755 });
    const ended = await start(t, command, {});

    t.match(ended, { code: exitCodes.nodeUnusable, stdout: '' });
    t.match(ended.stderr, `regroup: ${path} can't be run: it's no program for this machine; `);
  });

  t.test('that is too old is told by what it runs', async t => {
    const { folder } = packageOf(t, '');
    const older = join(folder, 'older.cjs');
    writeFileSync(
      older,
      `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.18.3' } });`,
    );
    const [node = '', script = ''] = bareCommand('regroup-store');
    const ended = await startProgram(t, [node, '--require', older, script]).ended;

    t.match(ended, { code: exitCodes.nodeUnusable, stdout: '' });
    t.equal(
      ended.stderr,
      `regroup-store: ${node} is Node.js 20.18.3; regroup-store runs on Node.js ${neededNode} or newer, on PATH or named by REGROUP_NODE\n`,
    );
  });
});

t.test('called by Node alone it works as ever', async t => {
  const program = [...bareCommand(), ...shell('echo up; grep SigIgn /proc/self/status')];
  const ended = await startProgram(t, program, { under: ['nohup'] }).ended;

  t.match(ended, { code: 0, stdout: `up\nSigIgn:\t${'0'.repeat(16)}\n` });
});

t.test('its own name is of no use to people, and says so', async t => {
  const ended = await startProgram(t, [resolve('build/Release/regroup_front'), '--help']).ended;

  t.match(ended, { code: 2, stdout: '', stderr: /^regroup_front: give / });
});
