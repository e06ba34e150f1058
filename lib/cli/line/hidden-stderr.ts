import { hideStderr } from '../process/stderr.js';

/** Puts back what this module hides while argparse loads. A module of its own, since imports are evaluated before the code between them. */
export const showStderr = hideStderr();
