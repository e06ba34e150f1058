import { runStoreCommand } from './store-command.js';

void runStoreCommand();
