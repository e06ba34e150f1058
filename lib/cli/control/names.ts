/** First words of a command line that look at runs, and give them orders. */
export const controlCommands = ['ps', 'logs', 'stop', 'restart', 'dump', 'drain'] as const;
export type ControlCommand = (typeof controlCommands)[number];
