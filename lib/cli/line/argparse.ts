// The order matters: hide, load, show. An import for its effect stays where it is.
import './hidden-stderr.js';
import { type Action, ArgumentParser, REMAINDER, SUPPRESS } from 'argparse';
import { showStderr } from './hidden-stderr.js';

/**
 * argparse, loaded without a look at `process.stderr`. It loads node:assert, which on Node 20 asks
 * that stream for its colours; and making the stream loads the network stack and makes a pipe
 * non-blocking, which workers would inherit and feel.
 */
showStderr();

export { type Action, ArgumentParser, REMAINDER, SUPPRESS };
