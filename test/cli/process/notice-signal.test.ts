import t from 'tap';
import { noticeSignal } from '../../../lib/cli/process/notice-signal.js';

t.test('a notice by a signal that ends nothing else may come often', t => {
  const notice = noticeSignal('SIGUSR1', ['SIGTERM']);

  t.equal(notice?.takes('SIGUSR1', 0), true);
  t.equal(notice?.takes('SIGUSR1', 9000), true);
  t.equal(notice?.takes('SIGTERM', 9000), false);
  t.end();
});

t.test('pain 5: SIGTERM is a notice once, and its echo with it; later it ends the job', t => {
  const notice = noticeSignal('SIGTERM', ['SIGTERM', 'SIGINT']);

  t.equal(notice?.takes('SIGTERM', 5000), true);
  t.equal(notice?.takes('SIGTERM', 5001), true);
  t.equal(notice?.takes('SIGINT', 5002), false);
  t.equal(notice?.takes('SIGTERM', 6000), false);
  t.end();
});
