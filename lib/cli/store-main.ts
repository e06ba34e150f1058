import { runStoreCommand } from './store-command.js';

runStoreCommand();
