/**
 * oracle: knows what every TPM wrote and what every host was told, and holds the share and the hosts to it.
 *
 *   acknowledged   a publish that a host was told is committed: the head contains its state for ever after (G2, G4)
 *   owed           the final state of a run whose stop was answered: it is in the head, in a diverged copy, or in the spool of its host, for ever after (G5)
 *   had            a domain that was told to run, or had a state acknowledged, never starts with a blank TPM again (G8)
 *
 * What needs no memory of who was told what is `share-watch.ts`.
 */
import type { Prepared } from '../../src/agent/start/prepared.js';
import type { StopOutcome } from '../../src/agent/domain/ending.js';
import type { Capture } from '../../src/model/capture.js';
import type { CommitOutcome, PublishCall, ShareStore } from '../../src/volume/share-store.js';
import type { Coverage } from './coverage.js';
import type { LocalView } from './local-view.js';
import type { Choice } from './operator.js';
import type { LogView, MachineOf, SlotEntry } from './log-view.js';
import { ShareWatch, type ShareListener, type WatchedVolume } from './share-watch.js';
import { contains, describeState, type TpmLedger, type TpmRun, type TpmState } from './tpm.js';
import { Violation, type Guarantee } from './violation.js';
import type { InodeTree } from './inode-tree.js';

/** A host as the oracle sees it. */
export interface WatchedHost {
  readonly local: LocalView;
  /** The run of the domain that goes on there now. */
  runOf(uuid: string): TpmRun | undefined;
}

export interface OracleOptions {
  readonly tree: InodeTree;
  readonly shareRoot: string;
  readonly ledger: TpmLedger;
  readonly coverage: Coverage;
  readonly nowMs: () => number;
  readonly host: (name: string) => WatchedHost;
  readonly machineOf: MachineOf;
  /** Whether another machine lives under a machine's identity. */
  readonly isDoubled: (machine: string) => boolean;
  readonly hostExpiryMs: number;
  readonly onViolation: (violation: Violation) => void;
}

interface Owed {
  readonly host: string;
  readonly uuid: string;
  readonly state: TpmState;
  readonly answer: StopOutcome;
}

export interface SaidPoint {
  readonly run: TpmRun;
  readonly newest: TpmState | undefined;
  readonly pointMs: number;
  readonly noticesSinceMs: number;
}

/** Of a host's silence: after that whoever has watched it all the time knows that it is dead. */
const DEAD_FOR_EXPIRIES = 3;
/** Of each machine. */
const BEATS_KEPT = 40;
/** Why a final state could not be stored. */
const UNSTORABLE = ['STATE_NOT_UNDERSTOOD', 'STATE_INVALID'];
/** Why nobody knows what it was. */
const UNREADABLE = ['HOST_IO', 'STATE_UNSTABLE', 'STATE_NOT_STORED'];
/** From the beginning of a change to the word of it: a disk takes its time. */
const NOTICED_WITHIN_MS = 1000;

/** What a started guest found in the place of its TPM's state; `failed`: nothing, and its disk did not take a blank one. */
export type Loaded = TpmState | 'blank' | 'refused' | 'failed';

export class Oracle implements ShareListener {
  readonly share: ShareWatch;
  readonly #options: OracleOptions;
  readonly #acknowledged = new Map<string, TpmState[]>();
  readonly #owed: Owed[] = [];
  readonly #had = new Set<string>();
  /** States of failed starts from which a domain began to run all the same. */
  readonly #takenUp = new WeakSet<TpmState>();
  /** When a start was last to be prepared, by host and domain. */
  readonly #prepareAsked = new Map<string, number>();
  /** When a host last asked for an entry that closes its epoch, by host, domain and slot. */
  readonly #closeAskedMs = new Map<string, number>();
  readonly #deletedByHand = new Set<TpmState>();
  /** Guests that started from a volume which their host held. */
  readonly #heldStarts: { readonly run: TpmRun; readonly atMs: number }[] = [];
  /** What somebody put into a domain's directory, by host and domain, until a run or a power loss there. */
  readonly #placed = new Map<string, TpmState>();
  /** Of those, what no run wrote. */
  readonly #made = new WeakSet<TpmState>();
  readonly #published = new WeakSet<TpmState>();
  /** Where the final state of a run could not be stored, by host and domain. */
  readonly #unstored = new Set<string>();
  /** Of these, what is known of it, until a power loss there, or a choice. */
  readonly #leftUnstored = new Map<string, TpmState>();
  /** Domains whose state somebody chose. */
  readonly #chosen = new Set<string>();
  readonly #chosenStates = new WeakSet<TpmState>();
  /** Where a choice was made, by host and domain: its journal begins anew there. */
  readonly #resolvedOn = new Set<string>();
  /** What such a choice put in another one's place. */
  readonly #keptByChoice: { readonly uuid: string; readonly state: TpmState }[] = [];
  /** Of each machine's agent: when its last beats that succeeded began and ended. */
  readonly #beats = new Map<string, readonly { readonly begunMs: number; readonly endedMs: number }[]>();
  /** When each machine last wrote to the share's server. */
  readonly #wroteMs = new Map<string, number>();
  /** When a host last asked for a claim, by host and domain. */
  readonly #claimAskedMs = new Map<string, number>();
  /** Starts that were asked for while such a state lay there, by host and domain. */
  readonly #toBeRefused = new Map<string, TpmState>();
  /** What lay there when a start was last asked for, by host and domain. */
  readonly #layThere = new Map<string, TpmState | undefined>();
  #violation: Violation | undefined;

  constructor(options: OracleOptions) {
    this.#options = options;
    const { tree, shareRoot, ledger, nowMs, machineOf } = options;
    this.share = new ShareWatch({ tree, root: shareRoot, ledger, nowMs, machineOf, listener: this });
  }

  /** The first guarantee that was broken. */
  get violation(): Violation | undefined {
    return this.#violation;
  }

  fail(violation: Violation): void {
    if (this.#violation) return;
    this.#violation = violation;
    this.#options.onViolation(violation);
  }

  /** Whether the domain had a state that must not be lost. */
  hadState(uuid: string): boolean {
    return this.#had.has(uuid);
  }

  /** Somebody deleted it on purpose; it is nobody's duty when a power loss brings its file back. */
  deletedByHand(state: TpmState): void {
    this.#deletedByHand.add(state);
  }

  wasDeletedByHand(state: TpmState): boolean {
    return [...this.#deletedByHand].some((deleted) => contains(deleted, state));
  }

  placed(host: string, uuid: string, state: TpmState, isMade: boolean): void {
    this.#placed.set(`${host} ${uuid}`, state);
    if (isMade) this.#made.add(state);
  }

  forgetPlaced(host: string, uuid: string): void {
    this.#placed.delete(`${host} ${uuid}`);
  }

  /** A host has lost its power: what lay on its disk alone may be gone. */
  lostPower(host: string, uuid: string): void {
    this.forgetPlaced(host, uuid);
    this.#leftUnstored.delete(`${host} ${uuid}`);
  }

  /** What somebody put there, while it lies there and the host can tell it from what its last run left. */
  placedOn(host: string, uuid: string): TpmState | undefined {
    const state = this.#placed.get(`${host} ${uuid}`);
    const { local } = this.#options.host(host);
    if (!state || local.state(uuid) !== state || local.finalTpm(uuid) === undefined) return undefined;
    return this.share.headState(this.share.volume(uuid)) === state ? undefined : state;
  }

  /** Somebody chooses what the domain goes on with. */
  resolving(uuid: string, keep: Choice): void {
    if (keep !== 'head') this.#chosen.add(uuid);
  }

  mayBeChosen(uuid: string): boolean {
    return this.#chosen.has(uuid);
  }

  /** @param local what lay there and was to become the head, where that was the choice */
  resolved(uuid: string, host: string, local: TpmState | undefined): void {
    this.lostPower(host, uuid);
    this.#resolvedOn.add(`${host} ${uuid}`);
    for (let at = local; at; at = at.parent) this.#made.delete(at);
    const head = this.share.headState(this.share.volume(uuid));
    if (local && head !== local) {
      this.#broken(
        'G5',
        uuid,
        `${describeState(local)} was chosen on ${host}, the head is ${describeState(head)}`,
      );
    }
    this.check();
  }

  /** Whether a choice was made there: the host knows no more then what it put in place itself. */
  wasResolved(host: string, uuid: string): boolean {
    return this.#resolvedOn.has(`${host} ${uuid}`);
  }

  /** What lay there before a choice is on the share, or set aside. */
  expectKept(uuid: string, host: string, state: TpmState): void {
    const isAside = this.#options
      .host(host)
      .local.keptAside(uuid)
      .some((kept) => contains(kept, state));
    if (isAside || this.isStored(host, uuid, state)) return;
    this.#broken('G5', uuid, `${describeState(state)} lay on ${host} before a choice, and is kept nowhere`);
  }

  /** What is put in the head's place by choice: what the head had is kept beside it from then on. */
  #chosenAs(volume: WatchedVolume, state: TpmState | undefined): void {
    const { uuid } = volume;
    const before = this.#acknowledged.get(uuid) ?? [];
    this.#had.add(uuid);
    this.#acknowledged.set(uuid, state ? [state] : []);
    if (state) this.#chosenStates.add(state);
    for (let at = state; at; at = at.parent) this.#made.delete(at);
    for (const lost of before) {
      if (!this.#isOnShare(uuid, lost)) {
        this.#broken('G5', uuid, `${describeState(lost)} was the head before a choice, and is kept nowhere`);
      }
      this.#keptByChoice.push({ uuid, state: lost });
    }
  }

  /** Whether what lies on a host's disk, or was kept aside there, is in a format that this program does not know. */
  isNotUnderstood(host: string, uuid: string): boolean {
    const { local } = this.#options.host(host);
    return [local.state(uuid), ...local.keptAside(uuid)].some((state) => state?.format === 'newer');
  }

  /** G5: a host on which the last run left what could not be stored does not go back behind that without a word. */
  #expectNotPassedOver({ host, uuid }: TpmRun, loaded: TpmState, { decision }: Prepared): void {
    const state = this.#leftUnstored.get(`${host} ${uuid}`);
    const volume = this.share.volume(uuid);
    if (!state || contains(loaded, state) || this.isStored(host, uuid, state)) return;
    // Another host has had it since, from the head: what this one left is a branch of its own then.
    if (
      volume?.view.run.some(
        (entry) => entry.kind === 'claim' && entry.host !== host && entry.atMs > state.writtenAtMs,
      )
    ) {
      return;
    }
    this.#broken(
      'G5',
      uuid,
      `${host} starts from ${describeState(loaded)} (${decision}), its last run left ${describeState(state)}, which is stored nowhere`,
    );
  }

  /** G5: what lay there when the start was asked for is in what it starts from, or is kept. */
  #expectNothingReplaced({ host, uuid }: TpmRun, loaded: TpmState, { decision }: Prepared): void {
    const lay = this.#layThere.get(`${host} ${uuid}`);
    const state = lay && lastOfARun(lay);
    if (!state || contains(loaded, state) || this.isStored(host, uuid, state)) return;
    this.#broken(
      'G5',
      uuid,
      `${host} starts from ${describeState(loaded)} (${decision}), in place of ${describeState(state)}, which is stored nowhere`,
    );
  }

  /** Whether a run there once ended with a state that could not be stored. */
  wasUnstored(host: string, uuid: string): boolean {
    return this.#unstored.has(`${host} ${uuid}`);
  }

  /** Whether nothing that the head has is missing in it. */
  isNewest(uuid: string, state: TpmState): boolean {
    const head = this.share.headState(this.share.volume(uuid));
    return head === undefined || contains(state, head);
  }

  /** A guest was restored from a save file, and brought this TPM. */
  savedTakenIn(run: TpmRun, state: TpmState, { decision, hold }: Prepared): void {
    if (hold.kind !== 'held' || this.isNewest(run.uuid, state)) return;
    const what = `${run.host} restored ${describeState(state)} from a save file (${decision})`;
    const head = this.share.headState(this.share.volume(run.uuid));
    this.#broken('G4', run.uuid, `${what}, the head is ${describeState(head)}`);
  }

  /** After a crash of the server, or of the disk that serves as the share. */
  crashed(): void {
    this.share.resync();
    this.check();
  }

  /** Everything that holds at any time. */
  check(): void {
    for (const volume of this.share.volumes) this.share.check(volume);
    for (const [uuid, states] of this.#acknowledged) {
      for (const state of states) this.#expectInHead(uuid, state, 'G2');
    }
    for (const { uuid, state } of this.#keptByChoice) {
      if (this.#isOnShare(uuid, state)) continue;
      this.#broken('G5', uuid, `${describeState(state)} was the head before a choice, and is kept nowhere`);
    }
    for (const { host, uuid, state, answer } of this.#owed) {
      if (this.isStored(host, uuid, state)) continue;
      this.#broken(
        'G5',
        uuid,
        `${describeState(state)}, answered '${answer}' at its stop on ${host}, is stored nowhere`,
      );
    }
  }

  /** A share as a host's program sees it, with an ear at what it is told. */
  observe(host: string, share: ShareStore): ShareStore {
    const { coverage } = this.#options;
    return {
      ...operationsOf(share),
      beat: async (call) => {
        const begunMs = this.#options.nowMs();
        const beaten = await share.beat(call);
        this.#beats.set(host, [
          ...(this.#beats.get(host) ?? []).slice(-BEATS_KEPT),
          { begunMs, endedMs: this.#options.nowMs() },
        ]);
        return beaten;
      },
      publish: async (call) => {
        const outcome = await share.publish(call);
        coverage.count(`publish: ${outcome.kind}`);
        this.#onPublishAnswered(host, call, outcome);
        return outcome;
      },
      claim: async (call) => {
        this.#claimAskedMs.set(`${host} ${call.uuid}`, this.#options.nowMs());
        const outcome = await share.claim(call);
        coverage.count(`claim, ${call.reason}: ${outcome.kind}`);
        if (outcome.kind === 'claimed') this.#expectClaim(host, call.uuid, outcome.epoch);
        return outcome;
      },
      closeEpoch: async (call) => {
        this.#closeAskedMs.set(`${host} ${call.uuid} ${call.slot}`, this.#options.nowMs());
        const outcome = await share.closeEpoch(call);
        coverage.count(`${call.kind}: ${outcome.kind}`);
        return outcome;
      },
      diverge: async (call) => {
        await share.diverge(call);
        coverage.count('diverge: kept');
        const volume = this.share.volume(call.uuid);
        const state = this.#stateOf(call.capture);
        if (state && volume && !this.share.keptStates(volume).some((kept) => contains(kept, state))) {
          this.#broken(
            'G5',
            call.uuid,
            `${describeState(state)} was said to be kept as a diverged copy on ${host}`,
          );
        }
      },
    };
  }

  appended(volume: WatchedVolume, entry: SlotEntry, before: LogView): void {
    const { uuid } = volume;
    this.#expectOfHolder(volume, entry, before);
    if (entry.kind === 'claim') this.#expectSilent(volume, entry, before);
    if (entry.kind === 'publish' && this.share.isChosen(volume, entry)) {
      const state = this.share.stateOfEntry(volume, entry);
      if (state) this.#published.add(state);
      if (volume.view.head === entry) this.#chosenAs(volume, state);
    } else if (entry.kind === 'publish') {
      const state = this.share.stateOfEntry(volume, entry);
      if (state) this.#published.add(state);
      this.#expectBegun(volume, entry);
      this.#expectNotReplaced(volume, entry);
      this.#expectNotMade(volume, entry);
    }
    if (entry.kind === 'tombstone') {
      this.#broken('G7', uuid, `slot ${entry.slot} is a tombstone that nobody asked for`);
    }
    if (entry.kind === 'release') this.#expectReleasable(uuid, entry);
  }

  /** An announced start, which may turn out to be an ordinary one. */
  arrivalAsked(host: string, uuid: string): void {
    this.#prepareAsked.set(`${host} ${uuid}`, this.#options.nowMs());
  }

  prepareAsked(host: string, uuid: string): void {
    this.#prepareAsked.set(`${host} ${uuid}`, this.#options.nowMs());
    this.#layThere.set(`${host} ${uuid}`, this.#options.host(host).local.state(uuid));
    const placed = this.placedOn(host, uuid);
    if (placed) this.#toBeRefused.set(`${host} ${uuid}`, placed);
    else this.#toBeRefused.delete(`${host} ${uuid}`);
  }

  prepareAnswered(host: string, uuid: string, { decision, hold }: Prepared): void {
    if (hold.kind === 'held') this.#expectClaim(host, uuid, hold.epoch);
    const { format } = this.#options.host(host).local.state(uuid) ?? {};
    if (format === 'newer' && decision !== 'wait-incoming') {
      this.#broken('G5', uuid, `${host} starts it (${decision}) from what this program does not understand`);
    }
    const lay = this.#layThere.get(`${host} ${uuid}`);
    if (lay?.format === 'newer' && decision !== 'wait-incoming') {
      this.#broken(
        'G5',
        uuid,
        `${host} starts it (${decision}) over ${describeState(lay)}, which nobody understands`,
      );
    }
    const placed = this.#toBeRefused.get(`${host} ${uuid}`);
    if (placed && decision !== 'wait-incoming') {
      this.#broken(
        'G5',
        uuid,
        `${host} starts it (${decision}) over ${describeState(placed)}, which was placed`,
      );
    }
    const record = this.#options.host(host).local.journal(uuid);
    const phase = decision === 'wait-incoming' ? 'incoming' : 'prepared';
    if (record?.phase !== phase) {
      this.#broken('protocol', uuid, `${host} answered a start before its journal said '${phase}'`);
    }
  }

  /**
   * @param prepared what the start was allowed with; `undefined` for a start past the hook
   * @param hadState whether the domain had one before it loaded this
   */
  guestLoaded(
    run: TpmRun,
    loaded: Loaded,
    prepared: Prepared | undefined,
    hadState = this.hadState(run.uuid),
  ): void {
    const { host, uuid } = run;
    if (!prepared || loaded === 'failed') return;
    if (loaded === 'blank') {
      if (hadState) {
        this.#broken('G8', uuid, `${host} was allowed to start with a blank TPM (${prepared.decision})`);
      }
      return;
    }
    if (loaded === 'refused') {
      this.#broken('G6', uuid, `${host} was allowed to start with an invalid state (${prepared.decision})`);
      return;
    }
    this.#expectNotPassedOver(run, loaded, prepared);
    this.#expectNothingReplaced(run, loaded, prepared);
    const volume = this.share.volume(uuid);
    const { hold } = prepared;
    if (hold.kind === 'held') this.#heldStarts.push({ run, atMs: this.#options.nowMs() });
    if (hold.kind !== 'held' || volume?.view.holder !== host || volume.view.claim?.slot !== hold.epoch) {
      return;
    }
    const head = this.share.headState(volume);
    if (head && !contains(loaded, head)) {
      this.#broken(
        'G4',
        uuid,
        `${host} starts from ${describeState(loaded)}, the head is ${describeState(head)} (${prepared.decision})`,
      );
    }
  }

  /** A guest begins to run with what it loaded. */
  began(state: TpmState | undefined, { isPastHook }: TpmRun): void {
    if (!state) return;
    this.#takenUp.add(state);
    // Whoever starts it past the hook says that it is the domain's.
    for (let at: TpmState | undefined = isPastHook ? state : undefined; at; at = at.parent) {
      this.#made.delete(at);
    }
  }

  started(run: TpmRun): void {
    run.toldStartedAtMs = this.#options.nowMs();
    if (run.isKnown) this.#had.add(run.uuid);
  }

  /** @param final what lay on the host's disk when the stop was told */
  stopAnswered(run: TpmRun, answer: StopOutcome, final: TpmState | undefined, reason: string): void {
    this.#options.coverage.count(`stop: ${answer}`);
    const { host, uuid, toldStartedAtMs } = run;
    if (!final || reason === 'migrated') return;
    // What was published past another's claim is a branch of its own, and stands as such.
    if (toldStartedAtMs === undefined && (answer === 'nothing' || this.#isHandedOver(host, uuid))) return;
    const state = lastOfARun(final);
    if (!state) return;
    this.#owed.push({ host, uuid, state, answer });
    if (answer === 'published' && !this.#isOnShare(uuid, state)) {
      this.#broken(
        'G5',
        uuid,
        `the stop on ${host} was answered 'published', but ${describeState(state)} is not on the share`,
      );
    }
    this.check();
  }

  /**
   * A stop failed because its final state could not be read or is not understood. Whoever manages
   * the domain may delete it now.
   */
  stopFailed({ host, uuid, toldStartedAtMs }: TpmRun, final: TpmState | undefined, code: string): void {
    const { local } = this.#options.host(host);
    if (UNSTORABLE.includes(code) || UNREADABLE.includes(code)) this.#unstored.add(`${host} ${uuid}`);
    const state = final && lastOfARun(final);
    if (!state || toldStartedAtMs === undefined || !UNSTORABLE.includes(code)) return;
    this.#leftUnstored.set(`${host} ${uuid}`, state);
    if (this.isStored(host, uuid, state) || local.keptAside(uuid).some((kept) => contains(kept, state))) {
      return;
    }
    this.#broken(
      'G5',
      uuid,
      `${describeState(state)}, of which the stop on ${host} says ${code}, is kept nowhere`,
    );
  }

  /** An agent says that it could not read what lies there. */
  captureFailed(host: string, uuid: string, code: string): void {
    if (UNSTORABLE.includes(code) || UNREADABLE.includes(code)) this.#unstored.add(`${host} ${uuid}`);
  }

  /** What is started there past the hooks, before the volume is given up, is a second run of a domain that runs elsewhere: it stays on the disk. */
  #isHandedOver(host: string, uuid: string): boolean {
    return this.#options.host(host).local.journal(uuid)?.phase === 'handed-over';
  }

  /**
   * What a host says of a domain's recovery point: everything that its guest wrote before is on the share.
   *
   * @param newest what the guest wrote last
   * @param noticesSinceMs what it wrote before that nobody need have noticed
   */
  recoveryPointSaid({ run, newest, pointMs, noticesSinceMs }: SaidPoint): void {
    let at: TpmState | undefined = newest;
    while (at?.run === run && at.writtenAtMs > pointMs - NOTICED_WITHIN_MS) at = at.parent;
    if (at?.run !== run || at.writtenAtMs < noticesSinceMs) return;
    this.#options.coverage.count('recovery point judged');
    if (this.#isOnShare(run.uuid, at)) return;
    this.#broken(
      'G5',
      run.uuid,
      `${run.host} says that everything before ${pointMs} ms is stored; ${describeState(at)} of ${at.writtenAtMs} ms is not`,
    );
  }

  isStored(host: string, uuid: string, state: TpmState): boolean {
    const isInSpool = (): boolean =>
      this.#options
        .host(host)
        .local.spooled(uuid)
        .some((kept) => contains(kept, state));
    return this.#isOnShare(uuid, state) || isInSpool();
  }

  /** Whether this very content is or was a generation, or is kept beside them. */
  wasPublished(uuid: string, state: TpmState): boolean {
    const volume = this.share.volume(uuid);
    if (!volume) return false;
    const generations = volume.view.published.map((entry) => this.share.stateOfEntry(volume, entry));
    return [...generations, ...this.share.keptStates(volume)].includes(state) || this.#published.has(state);
  }

  #isOnShare(uuid: string, state: TpmState): boolean {
    const volume = this.share.volume(uuid);
    if (!volume) return false;
    const head = this.share.headState(volume);
    if (head && contains(head, state)) return true;
    return this.share.keptStates(volume).some((kept) => contains(kept, state));
  }

  #onPublishAnswered(host: string, { uuid, slot, capture }: PublishCall, outcome: CommitOutcome): void {
    if (outcome.kind !== 'committed') return;
    const state = this.#stateOf(capture);
    if (!state) {
      this.#broken('G6', uuid, `${host} published what no TPM wrote`);
      return;
    }
    const view = this.share.volume(uuid)?.view;
    const entry = view?.published.find((candidate) => candidate.slot === slot);
    const isPruned = slot < (view?.run[0]?.slot ?? 0);
    if (!isPruned && entry?.host !== host) {
      this.#broken('G2', uuid, `${host} was told that slot ${slot} is its publish, and it does not count`);
    }
    this.#had.add(uuid);
    this.#acknowledge(uuid, state);
    this.#expectInHead(uuid, state, 'G4');
  }

  /** Keeps only what is not contained in another. */
  #acknowledge(uuid: string, state: TpmState): void {
    const known = this.#acknowledged.get(uuid) ?? [];
    if (known.some((other) => contains(other, state))) return;
    this.#acknowledged.set(uuid, [...known.filter((other) => !contains(state, other)), state]);
  }

  #expectInHead(uuid: string, state: TpmState, guarantee: Guarantee): void {
    const head = this.share.headState(this.share.volume(uuid));
    if (head && contains(head, state)) return;
    this.#broken(
      guarantee,
      uuid,
      `${describeState(state)} was acknowledged, the head is ${describeState(head)}`,
    );
  }

  #expectClaim(host: string, uuid: string, epoch: number): void {
    const volume = this.share.volume(uuid);
    const entry = volume?.entries.get(epoch);
    const isPruned = epoch < (volume?.view.run[0]?.slot ?? 0);
    if (isPruned || (entry?.kind === 'claim' && entry.host === host)) return;
    this.#broken('G3', uuid, `${host} believes to hold it in epoch ${epoch}, where no claim of it stands`);
  }

  /** Of a start that failed nothing is published, until a later start finds it. */
  #expectBegun(volume: WatchedVolume, entry: SlotEntry): void {
    const state = this.share.stateOfEntry(volume, entry);
    if (state?.run.host !== entry.host || this.#takenUp.has(state)) return;
    // What was started past the hooks counts for its host as the run before it.
    if (state.run.began || state.run.isPastHook) return;
    const preparedAtMs = this.#prepareAsked.get(`${entry.host} ${volume.uuid}`) ?? 0;
    const isUnderWay = this.#options.host(entry.host).runOf(volume.uuid) === state.run;
    if (preparedAtMs > state.writtenAtMs || isUnderWay) return;
    this.#broken(
      'protocol',
      volume.uuid,
      `${entry.host} published ${describeState(state)} of a start that failed`,
    );
  }

  /** A run of the domain that another host's start has replaced is over for the volume, whoever claims it afterwards. */
  #expectNotReplaced(volume: WatchedVolume, entry: SlotEntry): void {
    const state = this.share.stateOfEntry(volume, entry);
    const sinceMs = state?.run.toldStartedAtMs;
    if (!state || sinceMs === undefined || !volume.view.published.includes(entry)) return;
    if (this.#chosenStates.has(state)) return;
    const other = this.#heldStarts.find(
      ({ run, atMs }) =>
        run.uuid === volume.uuid && run.host !== state.run.host && run.began && atMs > sinceMs,
    );
    if (!other || state.run.host !== entry.host) return;
    this.#broken(
      'G3',
      volume.uuid,
      `${entry.host} published ${describeState(state)} although ${other.run.host} has started it since`,
    );
  }

  /** What somebody put in place is nobody's head unless an operator says so. */
  #expectNotMade(volume: WatchedVolume, entry: SlotEntry): void {
    let state = this.share.stateOfEntry(volume, entry);
    while (state && !this.#made.has(state)) state = state.parent;
    if (!state) return;
    this.#broken('G4', volume.uuid, `${entry.host} published ${describeState(state)}, which was placed`);
  }

  /** Nobody but a volume's holder gives it up, whatever name or identity he shares with it. */
  #expectOfHolder({ uuid }: WatchedVolume, { kind, host, slot, epoch }: SlotEntry, before: LogView): void {
    if (kind !== 'release' || before.holder === undefined || before.claim?.slot !== epoch) return;
    if (before.holder === host) return;
    this.#broken('G3', uuid, `${host} released in slot ${slot} what ${before.holder} holds`);
  }

  /**
   * No volume is taken from a host that beats, but by force: its VM runs on there. Of a beat that had
   * succeeded when the claim was asked for everybody could know, by whatever clock.
   */
  #expectSilent({ uuid, view }: WatchedVolume, { host, reason, slot }: SlotEntry, before: LogView): void {
    const { hostExpiryMs, nowMs } = this.#options;
    // One that arrives late, below the log's bottom, means nothing.
    if (view.claim?.slot !== slot) return;
    // Of a claim under an identity that its machine has given up nobody knows that it lives, until it claims anew.
    if (before.claim && before.holder !== this.#options.machineOf(before.claim.label, undefined)) {
      if (!this.#options.isDoubled(before.claim.host)) return;
    }
    const { holder } = before;
    const askedMs = this.#claimAskedMs.get(`${host} ${uuid}`);
    if (holder === undefined || holder === host || reason === 'forced' || askedMs === undefined) return;
    const beats = this.#beats.get(holder) ?? [];
    const alive = beats.find(
      ({ begunMs, endedMs }) => endedMs <= askedMs && begunMs > nowMs() - hostExpiryMs,
    );
    if (!alive) return;
    const sinceMs = Math.round(nowMs() - alive.begunMs);
    this.#broken(
      'G3',
      uuid,
      `${host} claimed in slot ${slot} (${reason}) what ${holder} holds, who beat ${sinceMs} ms before`,
    );
  }

  /**
   * A start was refused because another host holds the volume: that host may be alive, or have been a while ago.
   *
   * @param mayExpire a host that is dead is taken over from by whoever starts its domain
   */
  startRefused(host: string, uuid: string, code: string, mayExpire: boolean): void {
    const { hostExpiryMs, nowMs, isDoubled } = this.#options;
    const holder = this.share.volume(uuid)?.view.holder;
    if (code !== 'HELD_ELSEWHERE' || !mayExpire || holder === undefined || isDoubled(holder)) return;
    const sinceMs = nowMs() - DEAD_FOR_EXPIRIES * hostExpiryMs;
    const isDead = holder !== host && (this.#wroteMs.get(holder) ?? 0) < sinceMs;
    if (!isDead || !this.#watchedSince(host, sinceMs)) return;
    this.#broken(
      'liveness',
      uuid,
      `${host} takes ${holder}, who has not beaten for ${DEAD_FOR_EXPIRIES} expiries, for alive`,
    );
  }

  /** A host's mount wrote something to the server. */
  wrote(host: string): void {
    this.#wroteMs.set(host, this.#options.nowMs());
  }

  /** Whether the share answered a host's agent without a gap. */
  #watchedSince(host: string, sinceMs: number): boolean {
    const { hostExpiryMs, nowMs } = this.#options;
    const answers = (this.#beats.get(host) ?? []).filter(({ begunMs }) => begunMs > sinceMs - hostExpiryMs);
    const times = [...answers.map(({ endedMs }) => endedMs), nowMs()];
    const gaps = times.map((time, at) => time - (times[at - 1] ?? -Infinity));
    return gaps.every((gap, at) => at === 0 || gap < hostExpiryMs / 2) && (times[0] ?? Infinity) <= sinceMs;
  }

  #expectReleasable(uuid: string, { host, slot }: SlotEntry): void {
    const watched = this.#options.host(host);
    // One that was asked for before may arrive late, when the domain was started without the share meanwhile.
    const askedMs = this.#closeAskedMs.get(`${host} ${uuid} ${slot}`) ?? 0;
    const startedMs = watched.runOf(uuid)?.toldStartedAtMs;
    if (startedMs !== undefined) {
      if (askedMs >= startedMs) {
        this.#broken('protocol', uuid, `${host} released it in slot ${slot} while the domain runs there`);
      }
      return;
    }
    const state = watched.local.state(uuid);
    const toldMs = state?.run.toldStartedAtMs;
    const isOurs = toldMs !== undefined && askedMs >= toldMs && state?.run.host === host;
    if (!isOurs || state.run.handedOver || this.#isOnShare(uuid, state)) return;
    this.#broken(
      'G4',
      uuid,
      `${host} released it in slot ${slot} before ${describeState(state)} was on the share`,
    );
  }

  #stateOf({ files }: Capture): TpmState | undefined {
    const file = files.find(({ role }) => role === 'tpm2');
    return file && this.#options.ledger.stateOf(file.data);
  }

  #broken(guarantee: Guarantee, uuid: string, what: string): void {
    this.fail(new Violation(guarantee, `domain ${uuid.slice(0, 8)}: ${what}`));
  }
}

/** The newest state that is not of a start that failed. */
function lastOfARun(state: TpmState): TpmState | undefined {
  let at: TpmState | undefined = state;
  while (at && !at.run.began) at = at.parent;
  return at;
}

/** The operations of a store as functions of their own, so that some can be replaced. */
function operationsOf(share: ShareStore): ShareStore {
  return {
    initialise: (call) => share.initialise(call),
    identify: (call) => share.identify(call),
    beat: (call) => share.beat(call),
    leaveFormerNames: (call) => share.leaveFormerNames(call),
    leave: (call) => share.leave(call),
    list: (call) => share.list(call),
    inspect: (call) => share.inspect(call),
    claim: (call) => share.claim(call),
    publish: (call) => share.publish(call),
    closeEpoch: (call) => share.closeEpoch(call),
    fetch: (call) => share.fetch(call),
    diverge: (call) => share.diverge(call),
    tidy: (call) => share.tidy(call),
    placeLive: (call) => share.placeLive(call),
    readLive: (call) => share.readLive(call),
    lookLive: (call) => share.lookLive(call),
    removeLive: (call) => share.removeLive(call),
    history: (call) => share.history(call),
    verify: (call) => share.verify(call),
  };
}
