/**
 * operations: what the storage client has to know about each share operation in order to queue it, to wait for it and to give it up.
 */
import type { ShareOperation, ShareService } from '../volume/share-administration.js';

export type CallOf<Operation extends ShareOperation> = Parameters<ShareService[Operation]>[0];
export type ResultOf<Operation extends ShareOperation> = Awaited<ReturnType<ShareService[Operation]>>;

/**
 * Requests of one lane run one after another, in the order of their arrival. Every volume has a lane, named by its UUID; the heartbeat has its
 * own, so that no other work can make a living host look dead.
 */
export type Lane = string;

interface OperationTraits {
  /** How a message names it. */
  readonly title: string;
  /** Which lane when the operation concerns no volume. */
  readonly lane: 'volume' | 'share' | 'heartbeat';
  /** Whether it puts an entry into a volume's log: when its answer is missing, its outcome is unknown. */
  readonly commits: boolean;
  /** Whether it reads or clears a whole volume rather than one generation, and gets `WHOLE_VOLUME_FACTOR` times the deadline. */
  readonly wholeVolume: boolean;
}

/** How many share deadlines an operation over all generations of a volume may take. */
export const WHOLE_VOLUME_FACTOR = 6;

const OPERATIONS: Readonly<Record<ShareOperation, OperationTraits>> = {
  initialise: { title: 'initialising', lane: 'share', commits: false, wholeVolume: false },
  identify: { title: 'reading the marker', lane: 'share', commits: false, wholeVolume: false },
  list: { title: 'listing the volumes', lane: 'share', commits: false, wholeVolume: false },
  beat: { title: 'heartbeat', lane: 'heartbeat', commits: false, wholeVolume: false },
  leaveFormerNames: { title: 'leaving a former name', lane: 'heartbeat', commits: false, wholeVolume: false },
  // In the heartbeat's lane, so that an earlier beat cannot undo the goodbye.
  leave: { title: 'goodbye', lane: 'heartbeat', commits: false, wholeVolume: false },
  inspect: { title: 'inspection', lane: 'volume', commits: false, wholeVolume: false },
  claim: { title: 'claim', lane: 'volume', commits: true, wholeVolume: false },
  publish: { title: 'publish', lane: 'volume', commits: true, wholeVolume: false },
  closeEpoch: { title: 'release', lane: 'volume', commits: true, wholeVolume: false },
  fetch: { title: 'fetch', lane: 'volume', commits: false, wholeVolume: false },
  diverge: { title: 'keeping a diverged copy', lane: 'volume', commits: false, wholeVolume: false },
  tidy: { title: 'tidying', lane: 'volume', commits: false, wholeVolume: true },
  placeLive: { title: 'placing live state', lane: 'volume', commits: false, wholeVolume: false },
  readLive: { title: 'reading live state', lane: 'volume', commits: false, wholeVolume: false },
  lookLive: { title: 'look at live state', lane: 'volume', commits: false, wholeVolume: false },
  removeLive: { title: 'removing live state', lane: 'volume', commits: false, wholeVolume: false },
  history: { title: 'history', lane: 'volume', commits: false, wholeVolume: true },
  verify: { title: 'verification', lane: 'volume', commits: false, wholeVolume: true },
  // Its claim is followed by nothing that would have to know of it.
  purge: { title: 'purge', lane: 'volume', commits: false, wholeVolume: true },
  pin: { title: 'making a snapshot', lane: 'volume', commits: false, wholeVolume: false },
  unpin: { title: 'deleting a snapshot', lane: 'volume', commits: false, wholeVolume: false },
  pins: { title: 'listing the snapshots', lane: 'volume', commits: false, wholeVolume: true },
  fetchPin: { title: 'reading a snapshot', lane: 'volume', commits: false, wholeVolume: false },
  reseal: { title: 'encryption anew', lane: 'volume', commits: false, wholeVolume: true },
  setEscrow: { title: 'writing the marker', lane: 'share', commits: false, wholeVolume: false },
  declareFenced: { title: 'mark of a dead host', lane: 'share', commits: false, wholeVolume: false },
  survey: { title: 'survey of the share', lane: 'share', commits: false, wholeVolume: true },
  examine: { title: 'examination of the share', lane: 'share', commits: false, wholeVolume: false },
  summarise: { title: 'summary', lane: 'volume', commits: false, wholeVolume: false },
};

export function commits(operation: ShareOperation): boolean {
  return OPERATIONS[operation].commits;
}

/** How long an answer may take, milliseconds. */
export function patienceMs(operation: ShareOperation, deadlineMs: number): number {
  return OPERATIONS[operation].wholeVolume ? WHOLE_VOLUME_FACTOR * deadlineMs : deadlineMs;
}

/** The volume that a call concerns, if it concerns one. */
export function volumeOf(call: object): string | undefined {
  return 'uuid' in call && typeof call.uuid === 'string' ? call.uuid : undefined;
}

export function laneOf(operation: ShareOperation, call: object): Lane {
  const { lane } = OPERATIONS[operation];
  return lane === 'volume' ? (volumeOf(call) ?? 'share') : lane;
}

/** `publish of 6b0c…`, for messages. */
export function nameOf(operation: ShareOperation, call: object): string {
  const uuid = volumeOf(call);
  const { title } = OPERATIONS[operation];
  return uuid === undefined ? title : `${title} of ${uuid}`;
}
