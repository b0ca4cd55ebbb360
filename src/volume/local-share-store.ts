/**
 * local-share-store: the share's operations, run in this process over a `FileSystem`. The storage process runs it on the real mount, the
 * simulator on a simulated one. Its only state is the heartbeat's open descriptor.
 */
import { errnoOf, MirrorError } from '../model/errors.js';
import { linkFree, type FileStat } from '../model/filesystem.js';
import { isOwn } from '../model/host-identity.js';
import { isDomainUuid } from '../model/identifiers.js';
import { claim, judgeHolder } from './claim.js';
import { expectEscrow } from './escrow.js';
import { examine } from './examine.js';
import { fetch, readHead } from './fetch.js';
import { history } from './history.js';
import { declareFenced } from './fenced-mark.js';
import { Heartbeat } from './hosts.js';
import { lookLive, placeLive, readLive, removeLive } from './live.js';
import { readLog } from './log.js';
import { initialise, setEscrow, verifyMarker } from './marker.js';
import { fetchPin, listPins, pin, unpin } from './pins.js';
import { closeEpoch, diverge, publish } from './publish.js';
import { purge } from './purge.js';
import { reseal } from './reseal.js';
import { markerPath, volumesPath, type ShareContext } from './share-context.js';
import type { ShareAdministration, ShareService } from './share-administration.js';
import { shareError } from './share-errors.js';
import type { HostBeat, InspectCall, Inspection, ShareIdentity, ShareStore } from './share-store.js';
import { summarise, survey } from './survey.js';
import { tidy } from './tidy.js';
import { verify } from './verify.js';

/** Beats between two checks of the marker: one RPC a beat, and another export under the same path is noticed all the same. */
const BEATS_PER_MARKER_CHECK = 6;
/** Within this time of a reading the marker is not read again for a claim: a start reads the volume just before. */
const JUST_READ_MS = 3_000;

export function createLocalShareStore(given: ShareContext): ShareService {
  // Everybody who can write to the share can put a link there.
  const context = { ...given, fs: linkFree(given.fs, given.root, 'SHARE_TAMPERED') };
  const heartbeat = new Heartbeat(context);
  const gate = new MarkerGate(context);
  let beatsUntilCheck = 0;

  async function beat(shareId: string | undefined): Promise<HostBeat> {
    const startedMs = context.clock.monotonicMs();
    const left = beatsUntilCheck;
    // Due again until a beat went well, so that a share that comes back is checked before anything is written to it.
    beatsUntilCheck = 0;
    if (left === 0) await gate.verify(shareId);
    else await gate.pass();
    await heartbeat.beat();
    await heartbeat.tend();
    beatsUntilCheck = (left === 0 ? BEATS_PER_MARKER_CHECK : left) - 1;
    return { latencyMs: context.clock.monotonicMs() - startedMs, ...heartbeat.doubled() };
  }

  async function inspect(call: InspectCall): Promise<Inspection> {
    const share = await gate.verify(call.shareId);
    const log = await readLog(context, call.uuid, { since: call.since });
    if (!log) return { share, volume: undefined };
    const foreign = log.holder !== undefined && !isOwn(log.holder, context.self);
    const beatNs = foreign ? await heartbeat.serverTimeNs() : 0n;
    const holder =
      log.holder && (await judgeHolder(context, heartbeat, beatNs, log.holder, call.hostExpiryMs));
    const head = call.withHead ? await readHead(context, call.uuid, log) : ({ kind: 'none' } as const);
    return { share, volume: { log, holder, head } };
  }

  async function list(): ReturnType<ShareStore['list']> {
    await gate.verify(undefined);
    return (await context.fs.readdir('list:readdir', volumesPath(context))).filter(isDomainUuid).sort();
  }

  /** It works on the share that was verified, or on none. */
  const onVolume: OnVolume = (action, operation, access = 'any') => {
    const passed = gate.pass().then((share) => {
      if (access === 'write') expectEscrow(context.sealing?.recipients ?? [], share);
    });
    return guarded(action, passed.then(operation));
  };

  return {
    initialise: (call) => initialise(context, call),
    identify: () => guarded('read the share marker', gate.verify(undefined)),
    beat: (call) => guarded('write the heartbeat', beat(call.shareId)),
    leaveFormerNames: () =>
      guarded(
        'take a former name away',
        gate.pass().then(() => heartbeat.leaveFormerNames()),
      ),
    leave: () => guarded('remove the heartbeat', heartbeat.leave()),
    list: () => guarded('list the volumes', list()),
    inspect: (call) => guarded(`read volume ${call.uuid}`, inspect(call)),
    claim: (call) =>
      guarded(
        `claim volume ${call.uuid}`,
        gate.passJustRead(call.shareId).then(async (share) => {
          expectEscrow(context.sealing?.recipients ?? [], share);
          return await claim(context, heartbeat, call);
        }),
      ),
    publish: (call) => onVolume(`publish the state of ${call.uuid}`, () => publish(context, call), 'write'),
    closeEpoch: (call) => onVolume(`release volume ${call.uuid}`, () => closeEpoch(context, call)),
    fetch: (call) => onVolume(`read volume ${call.uuid}`, () => fetch(context, call)),
    diverge: (call) =>
      onVolume(`keep a diverged copy of ${call.uuid}`, () => diverge(context, call), 'write'),
    tidy: (call) => onVolume(`tidy volume ${call.uuid}`, () => tidy(context, call)),
    ...liveOperations(context, onVolume),
    history: (call) => onVolume(`read the history of ${call.uuid}`, () => history(context, call.uuid)),
    verify: (call) => onVolume(`verify volume ${call.uuid}`, () => verify(context, call.uuid)),
    ...administration(context, heartbeat, gate, onVolume),
  };
}

/** Runs an operation on the share that was verified, and tells its failure with the action's name. */
type OnVolume = <Result>(
  action: string,
  operation: () => Promise<Result>,
  /** `write`: it stores state, which must be encrypted as the share demands. */
  access?: 'any' | 'write',
) => Promise<Result>;

function administration(
  context: ShareContext,
  heartbeat: Heartbeat,
  gate: MarkerGate,
  onVolume: OnVolume,
): ShareAdministration {
  return {
    purge: (call) =>
      guarded(
        `purge volume ${call.uuid}`,
        gate.verify(call.shareId).then(() => purge(context, heartbeat, call)),
      ),
    pin: (call) => onVolume(`make a snapshot of ${call.uuid}`, () => pin(context, call)),
    unpin: (call) => onVolume(`delete a snapshot of ${call.uuid}`, () => unpin(context, call)),
    pins: (call) => onVolume(`list the snapshots of ${call.uuid}`, () => listPins(context, call.uuid)),
    fetchPin: (call) => onVolume(`read a snapshot of ${call.uuid}`, () => fetchPin(context, call)),
    reseal: (call) => onVolume(`encrypt volume ${call.uuid} anew`, () => reseal(context, call), 'write'),
    setEscrow: (call) =>
      guarded(
        'write the share marker',
        gate.verify(undefined).then(() => setEscrow(context, call)),
      ),
    declareFenced: (call) =>
      guarded(
        `declare ${call.host} dead`,
        gate.verify(call.shareId).then(() => declareFenced(context, call.host)),
      ),
    survey: (call) =>
      guarded(
        'look at the hosts and volumes of the share',
        gate.verify(call.shareId).then((share) => survey(context, heartbeat, share, call)),
      ),
    examine: (call) =>
      guarded(
        'examine the share',
        gate.verify(call.shareId).then(async () => {
          await heartbeat.takeName();
          return await examine(context);
        }),
      ),
    summarise: (call) => onVolume(`read volume ${call.uuid}`, () => summarise(context, call.uuid)),
  };
}

function liveOperations(
  context: ShareContext,
  onVolume: OnVolume,
): Pick<ShareStore, 'placeLive' | 'readLive' | 'lookLive' | 'removeLive'> {
  return {
    placeLive: (call) => onVolume(`place the state of ${call.uuid}`, () => placeLive(context, call), 'write'),
    readLive: (call) => onVolume(`read the state of ${call.uuid}`, () => readLive(context, call)),
    lookLive: (call) => onVolume(`look at the state of ${call.uuid}`, () => lookLive(context, call)),
    removeLive: (call) => onVolume(`remove the state of ${call.uuid}`, () => removeLive(context, call)),
  };
}

/**
 * Remembers the marker that was found to be the right one. Reading it each time would cost every publish two requests more. Whether it is still
 * the same file tells another mount in the share's place: that one has another file there, or none.
 *
 * It costs nothing while the client knows the marker's attributes, which it asks for again after 3 to 60 s, seldomer the longer they stay the same: measured,
 * three requests beside the 30 of the first six publishes.
 * Not guaranteed: anything against a mount that changes between this look and the write behind it.
 */
class MarkerGate {
  readonly #context: ShareContext;
  #expectedId: string | undefined;
  /** The marker's file; `undefined` while the gate is shut. */
  #marker: FileStat | undefined;
  #share: ShareIdentity | undefined;
  #readAtMs = Number.NEGATIVE_INFINITY;

  constructor(context: ShareContext) {
    this.#context = context;
    this.#expectedId = context.shareId;
  }

  async verify(shareId: string | undefined): Promise<ShareIdentity> {
    this.#expectedId = shareId ?? this.#expectedId;
    this.#marker = undefined;
    // Before the reading: if the mount changes between the two, this is not the file that the next look finds.
    const marker = await this.#look();
    const readAtMs = this.#context.clock.monotonicMs();
    const identity = await verifyMarker(this.#context, this.#expectedId);
    this.#marker = marker;
    this.#readAtMs = readAtMs;
    this.#share = identity;
    return identity;
  }

  async pass(): Promise<ShareIdentity> {
    const known = this.#share;
    const isKnown = known && this.#marker && isSameFile(this.#marker, await this.#look());
    return isKnown ? known : await this.verify(undefined);
  }

  /** Reads the marker, unless that very share's was read a moment ago: then it is only looked at. */
  async passJustRead(shareId: string | undefined): Promise<ShareIdentity> {
    const isJustRead = this.#context.clock.monotonicMs() - this.#readAtMs < JUST_READ_MS;
    if (!isJustRead || shareId === undefined || shareId !== this.#share?.id) {
      return await this.verify(shareId);
    }
    this.#expectedId = shareId;
    return await this.pass();
  }

  async #look(): Promise<FileStat | undefined> {
    try {
      return await this.#context.fs.lstat('marker:lstat', markerPath(this.#context));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw shareError('look at the share marker', error);
    }
  }
}

function isSameFile(one: FileStat, other: FileStat | undefined): boolean {
  return one.inode === other?.inode && one.mtimeNs === other.mtimeNs && one.size === other.size;
}

/** System errors leave with what was being done and the operator's next step; typed ones as they are. */
async function guarded<Result>(action: string, operation: Promise<Result>): Promise<Result> {
  try {
    return await operation;
  } catch (error) {
    throw error instanceof MirrorError || errnoOf(error) === undefined ? error : shareError(action, error);
  }
}
