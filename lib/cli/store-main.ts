import { runStoreCommand } from './commands/store.js';

void runStoreCommand();
