export { type ErrorCode, RegroupError } from './errors.js';
export type { NodesEvent, NodesWait, UnreachableEvent } from './events/nodes.js';
export type { ObservedEvent } from './events/observed.js';
export type { EventRecord, LogEnded } from './events/recorder.js';
export type {
  RestartCause,
  RestartedEvent,
  RestartPhases,
  RestartSummary,
  StoreUsedEvent,
} from './events/restarts.js';
export type {
  AgentEvent,
  DumpFile,
  FailReason,
  GpuHolder,
  Hang,
  HangRule,
  PreemptionSource,
  RunResult,
  StopReason,
  WorkerExit,
  WorkerFailure,
  WorkerIdentity,
} from './events.js';
export { exitCodes } from './exit-codes.js';
export {
  type Interpreter,
  inspectMachine,
  type LaunchPlan,
  type LogFiles,
  type LoggedWorker,
  launch,
  plan,
  type Run,
  type RunDescription,
  type WorkerPlan,
} from './launch.js';
export type { DeviceOverview, MachineOverview, NodeOverview } from './machine/overview.js';
export type { FailureOptions, FailureRuleOption, RuleAction } from './options/failures.js';
export type { HangOptions } from './options/hangs.js';
export type { HookName, HookOptions, Hooks } from './options/hooks.js';
export type { Entrypoint, LaunchOptions } from './options/launch-options.js';
export type { Streams, StreamsByRank } from './options/logs.js';
export type {
  IoPriority,
  LimitOptions,
  Rlimit,
  RlimitName,
  RlimitValue,
} from './options/machine/limits.js';
export type { Placement, PlacementOptions } from './options/machine/placement.js';
export type { EtcdAccess, NodesOptions, RdzvBackend } from './options/nodes.js';
export type { EventLogHandler, EventOptions } from './options/observe/events.js';
export type { MetricsAddress, MetricsOptions } from './options/observe/metrics.js';
export type { SchedulerSource } from './options/scheduler/allotment.js';
export { type NodesFromScheduler, nodesFromScheduler } from './options/scheduler/from-scheduler.js';
export type { ConnectOptions } from './store/client.js';
export { connectStore } from './store/lazy.js';
export { openSharedStore, type SharedStore } from './store/shared.js';
export type { CallOptions, Store, StoreClient, StoreValue } from './store/store.js';
export { describeExit } from './worker-exit.js';
