import { constants } from 'node:os';
import t from 'tap';
import { qualifiedHostname } from '../../lib/system/hostname.js';
import { describeErrno } from '../../lib/util/errno.js';
import { randomName, randomUuid } from '../../lib/util/random.js';
import { signalName, signalNumber } from '../../lib/util/signals.js';

t.test('the report’s host is the qualified name, where /etc/hosts has one', t => {
  for (const [hosts, expected] of [
    ['10.0.0.7 node7.cluster node7', 'node7.cluster'],
    ['10.0.0.7\tnode7 node7.cluster # ours', 'node7.cluster'],
    ['127.0.0.1 localhost node7', 'localhost'],
    ['127.0.0.1 localhost', 'node7'],
    ['127.0.0.1 localhost\n127.0.0.1 vm\n127.0.0.1 node7', 'localhost'],
    ['127.0.0.1 localhost\n10.0.0.7 gpu7 gpu7.cluster\n10.0.0.7 node7', 'gpu7.cluster'],
    ['10.0.0.70 other\n10.0.0.7 node7', 'node7'],
    ['# 10.0.0.7 node7.cluster node7', 'node7'],
    ['', 'node7'],
  ] as const) {
    t.equal(qualifiedHostname('node7', hosts), expected, hosts);
  }
  t.end();
});

t.test('every errno has its name and a text that people understand', t => {
  for (const [errno, code, text] of [
    [2, 'ENOENT', 'no such file or directory'],
    [8, 'ENOEXEC', 'exec format error'],
    [122, 'EDQUOT', 'disk quota exceeded'],
    [9999, 'errno 9999', 'errno 9999'],
  ] as const) {
    t.strictSame(describeErrno(errno), { code, text });
  }
  for (const [code, errno] of Object.entries(constants.errno)) {
    t.notMatch(describeErrno(errno).text, /^E[A-Z0-9]+$/, `${code} has a text`);
  }
  t.end();
});

t.test('random names are of the alphabet and UUIDs of version 4', t => {
  t.match(randomName(8), /^[a-z0-9_]{8}$/);
  t.match(randomUuid(), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  t.end();
});

t.test('signals have names and numbers, and those without a name a made-up one', t => {
  t.equal(signalName(15), 'SIGTERM');
  t.equal(signalName(36), undefined);
  t.equal(signalNumber('SIGUSR1'), 10);
  t.equal(signalNumber('SIG36'), 36);
  for (const name of ['SIG99', 'SIG0', 'TERM', 'SIGFOO', ''])
    t.equal(signalNumber(name), undefined);
  t.end();
});
