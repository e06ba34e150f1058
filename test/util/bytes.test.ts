import fc from 'fast-check';
import t from 'tap';
import { bytesOf, hasBytes, onDisk, shown, textOf } from '../../lib/util/bytes.js';

t.test('F-F02 every row of bytes is told apart, and comes back from its text', t => {
  const comesBack = (bytes: Uint8Array) => Buffer.compare(bytesOf(textOf(bytes)), bytes) === 0;
  t.doesNotThrow(() => fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), comesBack)));
  t.end();
});

t.test('F-F02 every text that is Unicode stays as it is', t => {
  const stays = (text: string) =>
    textOf(Buffer.from(text)) === text && bytesOf(text).toString() === text;
  t.doesNotThrow(() => fc.assert(fc.property(fc.string({ unit: 'binary' }), stays)));
  t.end();
});

t.test("F-F02 the text is what Python's surrogateescape makes of it", t => {
  // @source CPython 3.13: each is what bytes.fromhex(…).decode('utf-8', 'surrogateescape') gives
  for (const [hex, text] of [
    ['636166e9', 'caf\uDCE9'],
    ['ff', '\uDCFF'],
    ['c3a9', 'é'],
    ['efbfbd', '\uFFFD'],
    ['e282', '\uDCE2\uDC82'],
    ['e28241', '\uDCE2\uDC82A'],
    ['c080', '\uDCC0\uDC80'],
    ['eda080', '\uDCED\uDCA0\uDC80'],
    ['edb2a9', '\uDCED\uDCB2\uDCA9'],
    ['f09f9880', '😀'],
    ['f09f98', '\uDCF0\uDC9F\uDC98'],
    ['f4908080', '\uDCF4\uDC90\uDC80\uDC80'],
    ['f0808080', '\uDCF0\uDC80\uDC80\uDC80'],
    ['80c3a980', '\uDC80é\uDC80'],
  ] as const) {
    t.equal(textOf(Buffer.from(hex, 'hex')), text, hex);
    t.equal(bytesOf(text).toString('hex'), hex, text);
  }
  t.end();
});

t.test('surrogates that stand for no byte become U+FFFD, as Node has them', t => {
  t.equal(bytesOf('\uD83D \uDC00 \uDCE9').toString('latin1'), 'ï¿½ ï¿½ \xe9');
  t.end();
});

t.test('half a pair is no byte', t => {
  // U+1F4A9 ends with U+DCA9.
  t.notOk(hasBytes('💩'));
  t.equal(bytesOf('💩\uDCE9').toString('hex'), 'f09f92a9e9');
  t.end();
});

t.test('a path stays a string where it can', t => {
  t.equal(onDisk('/tmp/é'), '/tmp/é');
  t.strictSame(onDisk('/tmp/\uDCE9'), Buffer.from('/tmp/\xe9', 'latin1'));
  t.end();
});

t.test('people are shown Unicode', t => {
  t.equal(shown('caf\uDCE9 é'), 'caf\uFFFD é');
  t.end();
});
