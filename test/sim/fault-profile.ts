/**
 * fault-profile: how rough a simulated NFS is. Probabilities are per request; ranges are milliseconds of virtual time.
 */
import type { Range } from './random.js';

export interface FaultProfile {
  /** Each way, client to server and back. */
  readonly latencyMs: Range;
  /** The request never arrives and is sent again. */
  readonly requestLost: number;
  /** The server executes the request and its reply never arrives; the request is sent again. */
  readonly replyLost: number;
  /** The network delivers the request a second time, `delayMs` after the first. */
  readonly duplicated: number;
  /** The request is held up on its way for `delayMs`. */
  readonly delayed: number;
  readonly delayMs: Range;
  /** When a client sends again what had no reply. */
  readonly retransmitMs: Range;
  /**
   * The server does not recognise a request that it has executed, and executes it again. NFSv4.1 sessions: 0 (a server's restart forgets them all the
   * same); the small reply caches of NFSv3: more.
   */
  readonly replayForgotten: number;
  /** What a killed process, or one whose soft mount has timed out, had asked for is sent (again) all the same. */
  readonly abandonedSent: number;
  /** How long after a partition healed, or the server came back, a waiting request is sent; spread wide enough to come in any order. */
  readonly recoveryMs: Range;
  /** The server cannot keep written data: `EIO`, `ENOSPC` or `EDQUOT`, seen at fsync or close. */
  readonly writeFails: number;
  /** A client sends written data to the server before it is asked to. */
  readonly earlyWriteback: number;
  /** How long a client believes the attributes of a file (`acregmin` to `acregmax`). */
  readonly attributesMs: Range;
  /** How long a client believes what it knows of a directory's names, absent ones included (`acdirmin` to `acdirmax`). */
  readonly namesMs: Range;
}

/** Nothing goes wrong. Caches still get old, as they do on any NFS. */
export const CALM: FaultProfile = {
  latencyMs: [0.1, 2],
  requestLost: 0,
  replyLost: 0,
  duplicated: 0,
  delayed: 0,
  delayMs: [0, 0],
  retransmitMs: [1000, 5000],
  replayForgotten: 0,
  abandonedSent: 1,
  recoveryMs: [1, 200],
  writeFails: 0,
  earlyWriteback: 0,
  attributesMs: [3000, 30_000],
  namesMs: [1000, 30_000],
};

/** NFSv4.1 on a bad network. */
export const ROUGH: FaultProfile = {
  ...CALM,
  latencyMs: [0.1, 20],
  requestLost: 0.02,
  replyLost: 0.03,
  delayed: 0.02,
  delayMs: [10, 60_000],
  abandonedSent: 0.7,
  writeFails: 0.01,
  earlyWriteback: 0.2,
};

/** All that any NFS version has been seen to do, much too often. */
export const HOSTILE: FaultProfile = {
  ...ROUGH,
  latencyMs: [0.1, 200],
  requestLost: 0.05,
  replyLost: 0.1,
  duplicated: 0.05,
  delayed: 0.05,
  replayForgotten: 0.5,
  abandonedSent: 0.9,
  recoveryMs: [1, 5000],
  writeFails: 0.03,
  earlyWriteback: 0.5,
};
