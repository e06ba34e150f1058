/** The most that a timer takes, Node's and ours: 24.8 days. */
export const maxTimerMs = 2 ** 31 - 1;
