import t from 'tap';
import { launchError } from '../../../lib/errors.js';
import { asPeopleAreTold } from '../../../lib/rendezvous/stock/words.js';

t.test("R-028 whose store is gone is said only where it's known", t => {
  const error = launchError('ERR_STORE_LOST', ['get of /key', 'n0:1', 5, 'reset']);
  const told = (amongTorchrun: boolean) =>
    asPeopleAreTold(error, { endpoint: 'n0:29400', amongTorchrun });

  t.match(told(false), {
    code: 'ERR_RENDEZVOUS',
    message: /the store at n0:29400 is gone, which an agent of torchrun has had: /,
  });
  t.match(told(true), {
    code: 'ERR_RENDEZVOUS',
    message: /the store at n0:29400 is gone, with the agent that has had it: /,
  });
  t.end();
});
