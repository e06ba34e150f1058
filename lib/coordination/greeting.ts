import { randomBytes } from 'node:crypto';
import { type FrameAnswer, type FrameRequest, version } from './frames.js';
import { agentProof, isSameProof, type Nonces, nonceBytes, serverProof } from './proof.js';

export type Welcome = Extract<FrameAnswer, { type: 'welcome' }>;

/** What follows from a server's answer before the connection is of use. */
export type Greeted =
  | { readonly do: 'open'; readonly welcome: Welcome }
  | { readonly do: 'send'; readonly request: FrameRequest }
  /** It's of no use, and another one would be of none. `stranger`: it's not our server. */
  | {
      readonly do: 'end';
      readonly because: 'stranger' | 'version' | 'token';
      readonly why: string;
    };

const giveAll = 'give all nodes the same by REGROUP_TOKEN or --rdzv-conf token-file=PATH';
const words = {
  lacking: `the server takes only nodes with the job's token, and this one has none; ${giveAll}`,
  unasked: `the server has no token, and this node has one; ${giveAll}, or give none`,
  wrong: `this node's token is not the server's; ${giveAll}`,
  untrue: "it can't prove that it has this node's token: it's not the job's server",
};

/**
 * Hears the answers to a hello, one by one, until there's something to do but send.
 *
 * @param token the job's, which both sides prove to have; without one neither does
 */
export function createGreeting(token: string | undefined): {
  hear(answer: FrameAnswer): Greeted;
} {
  let proving: { readonly welcome: Welcome; readonly nonces: Nonces } | undefined;

  function onWelcome(welcome: Welcome): Greeted {
    const { version: theirs, nonce } = welcome;
    if (theirs !== version) {
      const why = `the server is of another version of regroup (protocol ${theirs}, and ours is ${version}); give all nodes the same version`;
      return { do: 'end', because: 'version', why };
    }
    if (token === undefined) {
      return nonce === undefined
        ? { do: 'open', welcome }
        : { do: 'end', because: 'token', why: words.lacking };
    }
    if (nonce === undefined) return { do: 'end', because: 'token', why: words.unasked };
    if (nonce.length !== nonceBytes)
      return stranger(`it answers with a nonce of ${nonce.length} bytes`);
    const nonces = { server: nonce, agent: randomBytes(nonceBytes) };
    proving = { welcome, nonces };
    const proof = agentProof(token, nonces);
    return { do: 'send', request: { ask: 'proof', nonce: nonces.agent, proof } };
  }

  return {
    hear(answer) {
      if (proving === undefined) {
        if (answer.type === 'welcome') return onWelcome(answer);
        return stranger('it answers with something else than a welcome');
      }
      if (answer.type === 'refused' && answer.why === 'wrong-token') {
        return { do: 'end', because: 'token', why: words.wrong };
      }
      const { welcome, nonces } = proving;
      const isTrue =
        answer.type === 'proved' && isSameProof(answer.proof, serverProof(token ?? '', nonces));
      return isTrue ? { do: 'open', welcome } : { do: 'end', because: 'token', why: words.untrue };
    },
  };
}

function stranger(why: string): Greeted {
  return { do: 'end', because: 'stranger', why };
}
