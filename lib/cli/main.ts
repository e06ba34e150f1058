import { runCommand } from './command.js';

void runCommand('regroup');
