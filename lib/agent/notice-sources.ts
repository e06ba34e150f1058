import type { PreemptionOptions } from '../options/preemption.js';
import { watchFile } from './notice-file.js';

/** An answer takes a metadata service milliseconds; where there's none, packets may go nowhere. */
const answerTimeoutMs = 2000;
/** Longer bodies say more than yes or no. */
const noBody = /^\s*(false|none)?\s*$/i;

export interface NoticeSources {
  /** Takes what has been there before. */
  look(): void;
  close(): void;
}

/**
 * Tells of a notice of preemption by a file or by a metadata service, once. None of it keeps Node alive.
 *
 * @throws ERR_OPTION, ERR_MACHINE if the file's folder can't be watched
 */
export function watchForNotices(
  options: PreemptionOptions & { readonly preemptUrlIntervalMs: number },
  onNotice: (by: 'file' | 'url') => void,
): NoticeSources {
  const { preemptFile, preemptUrl, preemptUrlIntervalMs } = options;
  const file =
    preemptFile === undefined ? undefined : watchFile(preemptFile, () => onNotice('file'));
  const url =
    preemptUrl === undefined
      ? undefined
      : poll(preemptUrl, preemptUrlIntervalMs, () => onNotice('url'));
  return {
    look() {
      file?.look();
      url?.look();
    },
    close() {
      file?.close();
      url?.close();
    },
  };
}

function poll(url: string, intervalMs: number, onYes: () => void): NoticeSources {
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;
  let token: string | undefined;

  async function isYes(): Promise<boolean> {
    let answer = await ask(url, token);
    if (answer.status === 401) {
      token = await awsToken(url);
      answer = await ask(url, token);
    }
    return answer.status === 200 && !noBody.test(answer.body);
  }

  async function look(): Promise<void> {
    // No answer is no notice: the service may be busy, and is asked again.
    const yes = await isYes().catch(() => false);
    if (isClosed) return;
    if (yes) return onYes();
    timer = setTimeout(() => void look(), intervalMs).unref(); // `look` never rejects
  }

  return {
    look: () => void look(), // as above
    close() {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** Google's service answers only to its header; AWS's ignores it. */
async function ask(url: string, token: string | undefined): Promise<Answer> {
  return request(url, {
    'Metadata-Flavor': 'Google',
    ...(token === undefined ? {} : { 'X-aws-ec2-metadata-token': token }),
  });
}

/** @source AWS EC2 user guide, "Use the Instance Metadata Service": IMDSv2's session token */
async function awsToken(url: string): Promise<string | undefined> {
  const headers = { 'X-aws-ec2-metadata-token-ttl-seconds': '21600' };
  const { status, body } = await request(new URL('/latest/api/token', url).href, headers, 'PUT');
  return status === 200 ? body.trim() : undefined;
}

async function request(
  url: string,
  headers: Readonly<Record<string, string>>,
  method = 'GET',
): Promise<Answer> {
  const signal = AbortSignal.timeout(answerTimeoutMs);
  const response = await fetch(url, { method, headers, signal, redirect: 'manual' });
  return { status: response.status, body: await response.text() };
}
