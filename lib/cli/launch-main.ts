import { runCommand } from './commands/launch.js';

void runCommand('regroup-launch');
