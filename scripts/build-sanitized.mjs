// npm run build:sanitized: what `npm test -- --only sanitizers` builds, so that it needn't wait for it.
import { main } from './steps.mjs';
import { buildSanitized } from './test-build.mjs';

main(async () => {
  buildSanitized();
});
