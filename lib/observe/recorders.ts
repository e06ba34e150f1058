import { basename, resolve } from 'node:path';
import type { Recorder } from '../events/recorder.js';
import type { RunResult } from '../events.js';
import { openConsole } from '../logs/console.js';
import { eventsFile, torchrunFile } from '../options/observe/events.js';
import type { MetricsAddress } from '../options/observe/metrics.js';
import { createDisk } from '../system/disk.js';
import { appendLines, closeAppended, readText } from '../system/files.js';
import { hostname, qualifiedHostname } from '../system/hostname.js';
import { addressOf } from '../util/address.js';
import { safeSubstitute } from '../util/template.js';
import type { Job } from '../workers/job.js';
import { lastLine, lineOf, type RecordHeads } from './event-log.js';
import { createLineLog, type LineLog } from './line-log.js';
import type { RecorderSurroundings } from './surroundings.js';
import { torchrunEvents } from './torchrun/events.js';

/** Limit of reading one worker's error file once more. */
const readMs = 2000;

/** Makes all recorders that a job's options ask for, as one. */
export async function createRecorders(job: Job, around: RecorderSurroundings): Promise<Recorder> {
  const { events, eventLogHandler, metrics } = job.settings;
  const recorders = [
    ...(events === undefined ? [] : [eventRecorder(job, events, around)]),
    ...(eventLogHandler === 'null' ? [] : [torchrunRecorder(job, eventLogHandler, around)]),
    ...(metrics === undefined ? [] : [await metricsOf(job, metrics, around)]),
  ].filter(each => each !== undefined);
  return {
    event(event) {
      for (const recorder of recorders) recorder.event(event);
    },
    async ended(ending) {
      // One that can't end as it should keeps no other from it.
      await Promise.allSettled(recorders.map(recorder => recorder.ended(ending)));
    },
  };
}

/** Loads what serves metrics; undefined where it isn't there, which is told. */
async function metricsOf(
  job: Job,
  metrics: MetricsAddress,
  around: RecorderSurroundings,
): Promise<Recorder | undefined> {
  try {
    const { metricsRecorder } = await import('./metrics/recorder.js');
    return metricsRecorder(job, metrics, around);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const { host = '', port } = metrics;
    around.tell({
      event: 'metrics-trouble',
      address: addressOf(host, port),
      reason,
      atMs: around.nowMs(),
    });
    return undefined;
  }
}

/** Our own events, as JSON lines. */
function eventRecorder(job: Job, events: string, around: RecorderSurroundings): Recorder {
  const heads: RecordHeads = {
    node: hostname(),
    runId: job.runId,
    unixAheadMs: () => Date.now() - around.nowMs(),
  };
  const named = safeSubstitute(events, {
    hostname: heads.node,
    run_id: job.runId,
    role_name: job.settings.role,
  });
  const path = events === 'logs' ? inLogs(around, eventsFile) : async () => resolved(around, named);
  const log = fileLog(path, around);
  return {
    event: event => log.add(lineOf(event, heads)),
    ended: ending => log.end(counts => lastLine(ending, counts, heads, around.nowMs())),
  };
}

/** torchrun's, on stderr or in a file. */
function torchrunRecorder(
  job: Job,
  handler: 'console' | 'file',
  around: RecorderSurroundings,
): Recorder {
  const { command, runId, settings } = job;
  const told = torchrunEvents({
    runId,
    role: settings.role,
    hostname: qualifiedHostname(),
    backend: settings.rdzvBackend,
    entryPoint: command.isFunction ? command.name : basename(command.file),
    pid: process.pid,
  });
  const log = handler === 'console' ? consoleLog() : fileLog(inLogs(around, torchrunFile), around);
  const sinceMs = around.nowMs();
  return {
    event(event) {
      for (const line of told.onEvent(event)) log.add(line);
    },
    async ended(ending) {
      const totalMs = around.nowMs() - sinceMs;
      const texts = 'result' in ending ? await errorTextsOf(ending.result) : new Map();
      const lines = told.onEnd(ending, totalMs, texts);
      for (const line of lines.slice(0, -1)) log.add(line);
      await log.end(() => lines.at(-1) ?? '');
    },
  };
}

/** What error files of this node's workers have, by global rank. */
async function errorTextsOf(result: RunResult): Promise<ReadonlyMap<number, string>> {
  const texts = new Map<number, string>();
  const disk = createDisk();
  const failures = 'failures' in result ? result.failures : [];
  await Promise.all(
    failures.map(async ({ node, rank, errorFile }) => {
      if (node !== undefined || errorFile === undefined) return;
      // One that can't be read any more is told as one that was never written.
      const text = await disk.run(readMs, () => readText(errorFile)).catch(() => undefined);
      if (text !== undefined) texts.set(rank, text);
    }),
  );
  return texts;
}

/** stderr of this process, in turn with whatever else is said there. */
function consoleLog(): LineLog {
  const console = openConsole();
  const say = (line: string): void => {
    try {
      console.say(2, `${line}\n`);
    } catch {
      // No thread is to be had for it. Whoever looks at stderr hears of that by other lines.
    }
  };
  return {
    add: say,
    async end(last) {
      say(last({ written: 0, lost: 0 }));
      console.close();
    },
  };
}

function fileLog(path: () => Promise<string>, { tell, nowMs }: RecorderSurroundings): LineLog {
  return createLineLog({
    path,
    append: appendLines,
    close: closeAppended,
    trouble: (at, code, lostRecords) =>
      tell({ event: 'events-trouble', path: at, code, lostRecords, atMs: nowMs() }),
  });
}

function inLogs({ folder }: RecorderSurroundings, name: string): () => Promise<string> {
  return async () => {
    const made = await folder();
    if (made === undefined) throw Object.assign(new Error('no logs'), { code: 'ENOENT' });
    return `${made}/${name}`;
  };
}

function resolved({ cwd }: RecorderSurroundings, path: string): string {
  return resolve(cwd ?? '/', path);
}
