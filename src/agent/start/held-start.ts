/**
 * held-start: P3 and P4 of a preparation (`prepare.ts`), under the claim that P2 made: what is ahead of the head is published, what lost to it is kept,
 * and the state directory is made what the domain starts from.
 */
import { compareStateFiles, type Capture } from '../../model/capture.js';
import { asMirrorError, invariant, MirrorError } from '../../model/errors.js';
import type { Slot } from '../../model/generation-name.js';
import type { Hold, PublishedState } from '../../model/lifecycle-state.js';
import { parseSnapshotName } from '../../model/identifiers.js';
import { partsOf } from '../../model/parts.js';
import { isForeignTo, type RestoreDecision } from '../../model/restore-plan.js';
import type { Generation, PublishNote } from '../../volume/share-store.js';
import type { AgentContext } from '../agent-context.js';
import { carriedUsed } from './carried-state.js';
import { inSpool, prepared, type Prepared, type PrepareRequest } from './prepared.js';
import { publishNote, spoolManifest } from '../share/publish-note.js';
import { foreignHead } from './refusal.js';
import { placedLost, placedWon } from './placed-state.js';
import type { Situation } from './situation.js';
import { keepUnused, suitNvram } from './suit-nvram.js';
import type { StartDeadline } from './start-deadline.js';

type HeldDecision = Exclude<
  RestoreDecision['kind'],
  'refuse' | 'wait-incoming' | 'keep-unverified' | 'restore-spooled'
>;

const OWN_SNAPSHOT_PREFIX = 'before-placed-';
const OWN_SNAPSHOT = new RegExp(`^${OWN_SNAPSHOT_PREFIX}\\d+$`);
/** The newest of them. */
const OWN_SNAPSHOTS_KEPT = 5;

/** One look at a domain that is about to start, and what is needed to act on it. */
export interface StartAttempt {
  readonly context: AgentContext;
  readonly request: PrepareRequest;
  readonly situation: Situation;
  readonly deadline: StartDeadline;
}

function slotOf(ownSnapshot: string): number {
  return Number(ownSnapshot.slice(OWN_SNAPSHOT_PREFIX.length));
}

export class HeldStart {
  readonly #context: AgentContext;
  readonly #request: PrepareRequest;
  readonly #situation: Situation;
  readonly #deadline: StartDeadline;
  readonly #epoch: Slot;

  /** @param epoch the claim under which this host holds the volume */
  constructor({ context, request, situation, deadline }: StartAttempt, epoch: Slot) {
    this.#context = context;
    this.#request = request;
    this.#situation = situation;
    this.#deadline = deadline;
    this.#epoch = epoch;
  }

  async run({ kind }: { readonly kind: HeldDecision }): Promise<Prepared> {
    // One that a crash left, or somebody made: nothing is put in place through it.
    await this.#context.files.takeLinksAway(this.#request.uuid);
    await this.#dropPublished();
    switch (kind) {
      case 'start-new':
        // On this host even with `placement = "direct"`: in a directory that is there, libvirt makes a TPM without certificates.
        await this.#context.files.removeEmpty(this.#request);
        return this.#held(kind, undefined, undefined);
      case 'adopt-local':
        return await this.#adoptLocal(kind);
      case 'keep-local':
        return await this.#keepLocal(kind);
      case 'restore-carried':
        return await this.#restoreCarried(kind);
      case 'keep-placed':
        return await this.#keepPlaced(kind);
      case 'restore-over-placed':
        await this.#keepDiverged('placed');
        return { ...(await this.#restore(kind, false)), notice: placedLost(this.#situation) };
      case 'keep-diverged-restore-head':
        await this.#keepDiverged('diverged');
        return await this.#restore(kind, false);
      case 'restore-head':
        return await this.#restore(kind, false);
      case 'restore-previous':
        // The damaged head stands until a whole one follows it, so what was restored counts as not published.
        return { ...(await this.#restore(kind, true)), published: undefined };
    }
  }

  #local(): Capture {
    const { local } = this.#situation;
    invariant(local !== undefined, 'local state is there when the plan keeps it');
    return local;
  }

  #head(): PublishedState | undefined {
    const head = this.#situation.volume?.head;
    return head?.kind === 'whole' ? publishedAs(head.generation) : undefined;
  }

  async #adoptLocal(kind: HeldDecision): Promise<Prepared> {
    const adopted = await this.#publishLocal(kind, 'adopt');
    return this.#isDirect ? { ...adopted, ...(await this.#putInPlace(this.#local(), 0, false)) } : adopted;
  }

  async #keepLocal(kind: HeldDecision): Promise<Prepared> {
    const local = this.#local();
    const isPlaced = this.#situation.nvramMissing || this.#isDirect;
    const placed = await this.#putInPlace(local, this.#head()?.slot ?? 0, false, isPlaced);
    const start = this.#isInHead(local)
      ? this.#held(kind, this.#head(), local.identity)
      : await this.#publishLocal(kind, 'recover');
    return { ...start, ...placed };
  }

  /** Whether swtpm is to work on the share, now or still. */
  get #isDirect(): boolean {
    // A directory that the domain's owner chose is worked in, never linked.
    if (this.#request.tpm) return false;
    return this.#context.config.placement === 'direct' || this.#request.live !== undefined;
  }

  /**
   * @param slot of the generation that it is; 0 for none
   * @param restoring the TPM comes from the volume
   * @param isPlaced otherwise it is only looked whether what stands there suits
   * @returns the run's name on the share, when swtpm is going to work there, and what else it begins with
   */
  async #putInPlace(
    capture: Capture,
    slot: Slot,
    restoring: boolean,
    isPlaced = true,
  ): Promise<Pick<Prepared, 'live' | 'parts' | 'notice'>> {
    const { files, share, config } = this.#context;
    const { uuid } = this.#request;
    const suited = await suitNvram(this.#context, this.#request, capture, slot, restoring);
    const { parts, notice, clearNvram } = suited;
    const told = { parts, ...(notice && { notice }) };
    if (!isPlaced) return told;
    await this.#deadline.within(keepUnused(this.#context, uuid, suited, slot));
    const isDirect = config.placement === 'direct' && this.#request.tpm === undefined;
    const live = isDirect ? this.#epoch : undefined;
    if (live !== undefined) await this.#deadline.within(share.placeLive({ uuid, live, capture }));
    await files.restore({ ...this.#request, live }, suited.capture, { clearNvram });
    return { live, ...told };
  }

  /** Whether the head has every file of the capture as it is. */
  #isInHead({ files }: Capture): boolean {
    const head = this.#situation.volume?.head;
    const stored = head?.kind === 'whole' ? head.generation.capture.files : [];
    return files.every((file) =>
      stored.some((other) => compareStateFiles(file, other) === 0 && file.sha256 === other.sha256),
    );
  }

  #note(reason: PublishNote['reason']): PublishNote {
    return publishNote(this.#context, this.#request.name, reason);
  }

  async #publish(kind: HeldDecision, capture: Capture, note: PublishNote): Promise<Prepared> {
    const { uuid } = this.#request;
    const parent = this.#situation.volume?.log.head?.slot ?? 0;
    const slot = this.#epoch + 1;
    const outcome = await this.#deadline.within(
      this.#context.share.publish({ uuid, epoch: this.#epoch, slot, parent, capture, note }),
    );
    if (outcome.kind === 'committed') {
      await this.#dropSpooled(capture);
      const at = new Date(this.#context.clock.nowMs()).toISOString();
      const published = { slot, digest: capture.digest, at };
      return {
        ...this.#held(kind, published, capture.identity),
        hold: { kind: 'held', epoch: this.#epoch, next: slot + 1 },
      };
    }
    throw new MirrorError(
      'HELD_ELSEWHERE',
      `host ${outcome.by ?? '?'} claimed ${uuid} while this host prepared it`,
      {
        next: 'see with `swtpm-mirror history --all` who holds it now',
      },
    );
  }

  /** Without the share's word for it the start fails: what comes from a definition is nothing to go on alone. */
  async #restoreCarried(kind: HeldDecision): Promise<Prepared> {
    const { carried, uuid } = this.#situation;
    invariant(carried.kind === 'whole', 'a definition that the plan restores from carries a state');
    const { capture, origin } = carried;
    const start = await this.#publish(kind, capture, this.#note('carried'));
    const { live } = await this.#putInPlace(capture, 0, true);
    const notice = carriedUsed(uuid, origin);
    this.#context.log.warn({ uuid, code: notice.code }, notice.message);
    return { ...start, live, notice, parts: partsOf(capture) };
  }

  async #publishLocal(kind: HeldDecision, reason: PublishNote['reason']): Promise<Prepared> {
    const { spool, log } = this.#context;
    const capture = this.#local();
    const note = this.#note(reason);
    const { uuid } = this.#request;
    try {
      return await this.#publish(kind, capture, note);
    } catch (error) {
      const cause = asMirrorError(error);
      if (!cause.retriable && cause.code !== 'SHARE_FULL') throw error;
      // The share took the claim but not the state: it starts from the spool, and is published as soon as the share can take it.
      log.warn(
        { uuid, code: cause.code },
        'cannot publish the local state before the start; it is kept in the spool',
      );
      const spooledAs = await spool.put(spoolManifest(this.#context, capture, note, this.#epoch), capture);
      const hold: Hold = { kind: 'doubt', epoch: this.#epoch };
      return {
        ...this.#held(kind, this.#head(), capture.identity),
        hold,
        pending: inSpool(capture, { spooledAs, bootId: this.#context.bootId }),
      };
    }
  }

  /**
   * What somebody put in place becomes the head, once the head before is sure to stay. Without the share's
   * word for both the start fails, and everything is as it was.
   */
  async #keepPlaced(kind: HeldDecision): Promise<Prepared> {
    const { snapshots, log } = this.#context;
    const { uuid, volume } = this.#situation;
    const slot = volume?.log.head?.slot;
    invariant(slot !== undefined, 'there is a head before what was placed');
    const name = parseSnapshotName(`${OWN_SNAPSHOT_PREFIX}${String(slot)}`);
    await this.#deadline.within(snapshots.pin({ uuid, name, slot }));
    const local = this.#local();
    const start = await this.#publish(kind, local, this.#note('placed'));
    const isPut = this.#situation.nvramMissing || this.#isDirect;
    const placed = await this.#putInPlace(local, slot, false, isPut);
    const notice = placedWon(this.#situation, name);
    log.warn({ uuid, code: notice.code }, notice.message);
    await this.#dropOldSnapshots();
    return { ...start, ...placed, notice };
  }

  /** Where a manager puts states in place as a rule, its snapshots would fill the share. Those of operators stay. */
  async #dropOldSnapshots(): Promise<void> {
    const { snapshots, log } = this.#context;
    const { uuid } = this.#situation;
    try {
      const pins = await this.#deadline.within(snapshots.pins({ uuid }));
      const own = pins
        .filter(({ name }) => OWN_SNAPSHOT.test(name))
        .sort((a, b) => slotOf(b.name) - slotOf(a.name));
      for (const { name } of own.slice(OWN_SNAPSHOTS_KEPT)) {
        await this.#deadline.within(snapshots.unpin({ uuid, name: parseSnapshotName(name) }));
      }
    } catch (error) {
      const { code, message } = asMirrorError(error);
      log.info({ uuid, code }, `old snapshots of replaced states stay for now: ${message}`);
    }
  }

  async #keepDiverged(reason: 'diverged' | 'placed'): Promise<void> {
    const { share } = this.#context;
    const capture = this.#local();
    const { uuid } = this.#request;
    // Under the claim that it was written under, so that its name says which run it is of.
    const epoch = this.#situation.record?.epoch ?? 0;
    const call = { uuid, epoch, slot: this.#epoch + 1, capture, note: this.#note(reason) };
    await this.#deadline.within(share.diverge(call));
    await this.#dropSpooled(capture);
  }

  /** What waits in the spool and is one of the volume's generations. */
  async #dropPublished(): Promise<void> {
    const { spool } = this.#context;
    const { uuid, facts } = this.#situation;
    const { newest } = facts.spooled ? {} : await spool.peek(uuid);
    if (newest) await spool.remove(uuid, newest.name);
  }

  /**
   * The share has it now. Left in the spool, it would follow the head that the domain starts from, or, its
   * generation pruned, pass for one that was never stored.
   */
  async #dropSpooled({ digest }: Capture): Promise<void> {
    const { spool } = this.#context;
    const { uuid } = this.#request;
    const { newest } = await spool.peek(uuid);
    if (newest?.capture.digest === digest) await spool.remove(uuid, newest.name);
  }

  async #restore(kind: HeldDecision, fallBack: boolean): Promise<Prepared> {
    const { share } = this.#context;
    const head = this.#situation.volume?.head;
    const generation =
      head?.kind === 'whole' && !fallBack
        ? head.generation
        : (await this.#deadline.within(share.fetch({ uuid: this.#request.uuid, slot: 'head', fallBack })))
            .generation;
    const { identity } = generation.capture;
    // The plan has compared the head; what stands in for a damaged one it had not seen.
    if (isForeignTo(this.#situation.facts.journal, identity)) {
      throw foreignHead(this.#situation, generation.manifest);
    }
    const placed = await this.#putInPlace(generation.capture, generation.name.slot, true);
    return { ...this.#held(kind, publishedAs(generation), identity), ...placed };
  }

  #held(kind: HeldDecision, published: PublishedState | undefined, identity: string | undefined): Prepared {
    const hold: Hold = { kind: 'held', epoch: this.#epoch, next: this.#epoch + 1 };
    return { ...prepared(this.#situation, { kind }, hold, published), identity };
  }
}

function publishedAs({ name, capture, manifest }: Generation): PublishedState {
  return { slot: name.slot, digest: capture.digest, at: manifest.time };
}
