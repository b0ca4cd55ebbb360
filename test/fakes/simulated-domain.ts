/**
 * simulated-domain: one domain's lifecycle among everything that can happen to it: a share that fails, doubts and fences, another host
 * that takes over, a guest that writes at any time, watcher events that come late. Tasks end when the test says so, and as it says.
 *
 * Each step checks the invariants of model/lifecycle.ts; what breaks one throws with its name.
 */
import { sameDigest } from '../../src/model/lifecycle-facts.js';
import { step } from '../../src/model/lifecycle.js';
import {
  STOPPED,
  type Lifecycle,
  type LifecycleEvent,
  type LocalTask,
  type Pending,
  type PublishedState,
  type ShareTask,
} from '../../src/model/lifecycle-state.js';
import { begin, nextTasks } from '../../src/model/lifecycle-tasks.js';

interface SlotContent {
  readonly by: 'us' | 'them';
  readonly kind: 'claim' | 'publish' | 'release';
  readonly epoch: number;
  readonly digest: string;
}

/** How a share task ends. `lost`: executed, and the reply was not heard. `late`: not executed yet. */
export type ShareFate = 'done' | 'failed' | 'lost' | 'late';
export type LocalFate = 'done' | 'failed' | 'again';

const NAME_DIGITS = 16;

export class SimulatedDomain {
  /** Is shown every state, whatever led to it. */
  onState: (before: Lifecycle, after: Lifecycle) => void = () => undefined;
  #state: Lifecycle = STOPPED;
  /** Whether the guest runs here, whatever anybody was told. */
  guestRuns = false;
  disk = digestOf(0);
  /** The last capture came to nothing, so what is on disk now need not be stored. */
  captureFailed = false;
  spool: string | undefined;
  /** Nobody but the operator need know of that claim. */
  wasForcedBack = false;
  readonly diverged = new Set<string>();
  readonly began: (LocalTask | ShareTask)[] = [];
  #slots: SlotContent[] = [];
  #underWay: { readonly slot: number; readonly content: SlotContent }[] = [];
  #versions = 0;
  #localTask: LocalTask | undefined;
  #shareTask: ShareTask | undefined;
  /** What the capture in flight has read. */
  #read: string | undefined;
  /** What the spooling in flight writes. */
  #spooling: string | undefined;
  #lastCaptured: string | undefined;
  #ranHere = false;
  #wasFenced = false;
  #handedOver = false;
  /** Whether the guest's TPM is another one than the volume's, and what it wrote as such. */
  #isForeign = false;
  readonly #foreign = new Set<string>();

  get state(): Lifecycle {
    return this.#state;
  }

  set state(state: Lifecycle) {
    const before = this.#state;
    this.#state = state;
    this.onState(before, state);
  }

  get busy(): boolean {
    return this.#localTask !== undefined || this.#shareTask !== undefined;
  }

  get shareTask(): ShareTask | undefined {
    return this.#shareTask;
  }

  get localTask(): LocalTask | undefined {
    return this.#localTask;
  }

  get slots(): readonly SlotContent[] {
    return this.#slots;
  }

  get holder(): 'us' | 'them' | undefined {
    const claim = this.#slots.findLastIndex((entry) => entry.kind === 'claim');
    const epoch = claim + 1;
    const released = this.#slots.some((entry) => entry.kind === 'release' && entry.epoch === epoch);
    return released ? undefined : this.#slots[claim]?.by;
  }

  get head(): PublishedState | undefined {
    let epoch = 0;
    let head: PublishedState | undefined;
    for (const [at, { kind, epoch: own, digest }] of this.#slots.entries()) {
      if (kind === 'claim') epoch = at + 1;
      else if (kind === 'publish' && own === epoch) head = { slot: at + 1, digest };
    }
    return head;
  }

  /** The head as a name in the log shows it. */
  get headInLog(): PublishedState | undefined {
    return this.head && { ...this.head, digest: this.head.digest.slice(0, NAME_DIGITS) };
  }

  dispatch(event: LifecycleEvent): void {
    this.state = step(this.state, event);
    if (this.state.hold.kind === 'fenced') this.#wasFenced = true;
    check(!(this.#wasFenced && this.state.hold.kind === 'held'), 'I2: fenced is never left for held');
    this.#beginTasks();
    this.#checkNothingLost();
  }

  /** A prepare that claimed and restored the head. */
  prepare(): void {
    if (this.state.run !== 'stopped' || this.holder === 'them') return;
    check(!this.busy, 'a stopped domain has no task in flight');
    const epoch = this.#append({ by: 'us', kind: 'claim', epoch: 0, digest: '' });
    if (this.head) this.disk = this.head.digest;
    this.#newRun();
    this.dispatch({
      kind: 'prepared',
      hold: { kind: 'held', epoch, next: epoch + 1 },
      published: this.head,
      pending: undefined,
    });
  }

  /** A prepare without the share, on what was known last. */
  prepareUnverified(published: PublishedState | undefined): void {
    if (this.state.run !== 'stopped') return;
    this.#newRun();
    const pending = this.spool === undefined ? undefined : this.#pendingInSpool(this.spool);
    if (this.spool !== undefined) this.disk = this.spool;
    this.dispatch({ kind: 'prepared', hold: { kind: 'wanted', how: 'adopt' }, published, pending });
  }

  /** What is of another TPM is known by its identity. */
  #pendingInSpool(digest: string): Pending {
    return { digest, spooled: true, ...(this.#foreign.has(digest) && { foreign: true }) };
  }

  expectMigration(): void {
    if (this.state.run !== 'stopped') return;
    this.#newRun();
    this.disk = this.#newContent();
    this.dispatch({ kind: 'incoming' });
  }

  start(): void {
    if (this.state.run === 'stopped') this.#newRun();
    this.guestRuns = this.#ranHere = true;
    this.#handedOver = false;
    this.dispatch({ kind: 'started' });
  }

  stop(handedOver = false): void {
    const counts = this.state.run !== 'stopped' && this.state.run !== 'finishing';
    if (counts) this.#handedOver = handedOver;
    this.guestRuns = false;
    this.dispatch({ kind: 'stopped', reason: 'shutdown', handedOver });
  }

  /** A blank TPM in the place of the guest's own. */
  becomeAnother(): void {
    if (this.guestRuns) this.#isForeign = true;
    this.write();
  }

  /** The guest writes, sometimes what it had written before. */
  write(content?: number): void {
    if (!this.guestRuns) return;
    this.disk = content === undefined || this.#isForeign ? this.#newContent() : digestOf(content);
    if (this.#isForeign) this.#foreign.add(this.disk);
    this.dispatch({ kind: 'changed' });
  }

  /** The capture in flight reads now. */
  read(): void {
    if (this.#localTask?.kind !== 'capture' || this.#read !== undefined) return;
    this.#read = this.disk;
    this.dispatch({ kind: 'reading' });
  }

  endLocalTask(fate: LocalFate): void {
    const task = this.#localTask;
    if (!task) return;
    if (task.kind === 'capture') this.read();
    this.#localTask = undefined;
    if (task.kind === 'capture') this.captureFailed = fate !== 'done';
    if (task.kind === 'spool') this.#endSpool(fate);
    else if (fate === 'done') {
      this.#endCapture(this.#read ?? this.disk);
    } else this.dispatch({ kind: 'capture-failed', again: fate === 'again', missing: true });
  }

  endShareTask(fate: ShareFate, compacts = false): void {
    const task = this.#shareTask;
    if (!task) return;
    const carried = this.state.carrying;
    this.#shareTask = undefined;
    if (fate === 'failed') {
      this.dispatch({ kind: 'share-failed', inDoubt: false });
      return;
    }
    if (fate === 'late') this.#sendLate(task, carried);
    const event = fate === 'late' ? undefined : this.#execute(task, carried, compacts);
    this.dispatch(fate === 'done' && event ? event : { kind: 'share-failed', inDoubt: true });
  }

  /** A commit that was under way takes place now, if its slot is still the next one. */
  arrive(): void {
    const late = this.#underWay.shift();
    if (late?.slot === this.#slots.length + 1) this.#append(late.content);
  }

  /** Another host takes the volume, and may publish. */
  othersClaim(publishes: boolean): void {
    const epoch = this.#append({ by: 'them', kind: 'claim', epoch: 0, digest: '' });
    if (publishes) this.#append({ by: 'them', kind: 'publish', epoch, digest: this.#newContent() });
  }

  /** An operator gives the volume back to this host by force. */
  forceBack(): void {
    if (this.holder !== 'them') return;
    this.#append({ by: 'us', kind: 'claim', epoch: 0, digest: '' });
    this.wasForcedBack = true;
  }

  othersRelease(): void {
    const epoch = this.#slots.findLastIndex((entry) => entry.kind === 'claim') + 1;
    if (this.holder === 'them') this.#append({ by: 'them', kind: 'release', epoch, digest: '' });
  }

  #newRun(): void {
    this.#ranHere = this.#wasFenced = this.#handedOver = this.#isForeign = false;
    this.#lastCaptured = undefined;
  }

  #newContent(): string {
    return digestOf(++this.#versions);
  }

  #append(content: SlotContent): number {
    return this.#slots.push(content);
  }

  #beginTasks(): void {
    const { local, share } = nextTasks(this.state);
    for (const task of [local, share]) {
      if (!task) continue;
      this.#checkBegin(task);
      this.began.push(task);
      this.state = begin(this.state, task);
    }
    if (local) this.#localTask = local;
    if (local?.kind === 'capture') this.#read = undefined;
    if (local?.kind === 'spool') this.#spooling = this.state.pending?.digest;
    if (share) this.#shareTask = share;
    const { local: moreLocal, share: moreShare } = nextTasks(this.state);
    check(!(this.#localTask && moreLocal) && !(this.#shareTask && moreShare), 'a lane has one task at most');
  }

  #checkBegin(task: LocalTask | ShareTask): void {
    const { hold, dirty, pending, local, run } = this.state;
    switch (task.kind) {
      case 'capture':
        check(this.#localTask === undefined, 'a lane has one task at most');
        {
          check(
            this.#ranHere && !this.#handedOver,
            'I5: only a domain that ran here, and was not handed over, is captured',
          );
          return;
        }
      case 'spool':
        check(this.#localTask === undefined, 'a lane has one task at most');
        {
          check(pending !== undefined, 'what is spooled is pending');
          return;
        }
      case 'publish':
      case 'release':
      case 'confirm':
      case 'tidy':
        check(
          hold.kind === 'held' && hold.epoch === task.epoch,
          `I1: ${task.kind} only while the volume is held`,
        );
        if (task.kind === 'publish') {
          check(pending !== undefined, 'what is published is pending');
          check(!this.#foreign.has(pending?.digest ?? ''), 'I6: what is of another TPM is not published');
        }
        if (task.kind === 'tidy' || task.kind === 'confirm') {
          check(run !== 'finishing', `a stop does not wait for what ${task.kind} finds`);
        }
        if (task.kind !== 'release') break;
        check(run === 'finishing', 'I4: only a stop releases');
        check(
          !dirty && pending === undefined && local === 'idle',
          'I4: released only when nothing is left to capture or publish',
        );
        break;
      case 'diverge':
        check(
          hold.kind === 'fenced' || pending?.foreign === true,
          'only what a fenced host has diverges, and what is of another TPM',
        );
        break;
      case 'give-back':
        check(
          hold.kind === 'fenced' && hold.claimed !== undefined,
          'only a claim that does not count is given back',
        );
        check(run === 'finishing' && !dirty && pending === undefined, 'I4: given back when nothing is left');
        break;
      case 'acquire':
        check(hold.kind === 'wanted' || hold.kind === 'doubt', 'nothing that is held or lost is acquired');
    }
    check(this.#shareTask === undefined, 'a lane has one task at most');
  }

  /** I3, and that the machine's picture of the share is not ahead of the share. */
  #checkNothingLost(): void {
    const { pending, published, hold } = this.state;
    const captured = this.#lastCaptured;
    if (captured === undefined) return;
    const ours = this.#slots.findLast((entry) => entry.by === 'us' && entry.kind === 'publish')?.digest;
    const stored = this.#slots.some((entry) => entry.kind === 'publish' && entry.digest === captured);
    // What another host put above it does not take away what was stored; while the volume is ours it must be the head. A claim by hand may be the only
    // thing that hides that another host has had it.
    const taken =
      hold.kind === 'fenced' ||
      this.wasForcedBack ||
      this.#slots.findLast((entry) => entry.kind === 'claim')?.by === 'them';
    const kept =
      [pending?.digest, ours, this.head?.digest].includes(captured) ||
      (this.#foreign.has(captured) && this.diverged.has(captured)) ||
      (taken && (stored || this.diverged.has(captured)));
    // Before the first claim of a run is known to stand, the machine trusts what it was told of the
    // head; the claim's outcome makes it read again.
    const isBeforeClaim = hold.kind === 'wanted' || (hold.kind === 'doubt' && hold.epoch === 0);
    const isToldOnly = isBeforeClaim && published !== undefined && sameDigest(published.digest, captured);
    check(
      kept || isToldOnly || this.state.dirty || this.state.passedOver || this.#localTask?.kind === 'capture',
      `I3: capture ${captured.slice(0, 4)} is nowhere`,
    );
  }

  #endCapture(digest: string): void {
    const before = { captured: this.#lastCaptured, pending: this.state.pending?.digest };
    if (!this.#handedOver) this.#lastCaptured = digest;
    this.dispatch({ kind: 'captured', digest, foreign: this.#foreign.has(digest) });
    if (this.state.passedOver) this.#lastCaptured = before.captured;
    const wanted = this.state.pending?.digest;
    check(
      !this.#handedOver || wanted === undefined || wanted === before.pending,
      'I5: of a domain that was handed over nothing more is taken up',
    );
  }

  #endSpool(fate: LocalFate): void {
    const digest = this.#spooling;
    if (fate !== 'done' || digest === undefined) {
      this.dispatch({ kind: 'spool-failed' });
      return;
    }
    this.spool = digest;
    this.dispatch({ kind: 'spooled', digest });
  }

  #sendLate(task: ShareTask, carried: string | undefined): void {
    if (task.kind === 'publish') {
      this.#underWay.push({
        slot: task.slot,
        content: { by: 'us', kind: 'publish', epoch: task.epoch, digest: carried ?? '' },
      });
    } else if (task.kind === 'release') {
      this.#underWay.push({
        slot: task.slot,
        content: { by: 'us', kind: 'release', epoch: task.epoch, digest: '' },
      });
    }
  }

  #execute(task: ShareTask, carried: string | undefined, compacts: boolean): LifecycleEvent {
    switch (task.kind) {
      case 'acquire':
        return this.#acquire(task.how);
      case 'publish':
        return (
          this.#commit(task, carried ?? '') ?? { kind: 'published', slot: task.slot, digest: carried ?? '' }
        );
      case 'release':
        return this.#commit(task, '') ?? { kind: 'released' };
      case 'diverge':
        this.diverged.add(carried ?? '');
        return { kind: 'diverged', digest: carried ?? '' };
      case 'give-back':
        this.#giveBack();
        return { kind: 'released' };
      case 'confirm': {
        const stands = this.#isOurs(task.epoch) && this.#slots.length < task.slot;
        return { kind: stands ? 'confirmed' : 'doubted' };
      }
      case 'tidy':
        return compacts ? this.#acquire('recover') : { kind: 'tidied' };
    }
  }

  /** Whether an epoch that this host claimed is the last one, and open. */
  #isOurs(epoch: number): boolean {
    const claim = this.#slots.findLastIndex((entry) => entry.kind === 'claim');
    return claim + 1 === epoch && this.holder === 'us';
  }

  /** Whether the machine takes the volume for held by this host, and it is not. */
  get isDeluded(): boolean {
    const { hold } = this.state;
    return hold.kind === 'held' && !this.#isOurs(hold.epoch);
  }

  /** @returns what went wrong */
  #commit(
    { kind, epoch, slot }: Extract<ShareTask, { kind: 'publish' | 'release' }>,
    digest: string,
  ): LifecycleEvent | undefined {
    const found = this.#slots[slot - 1];
    if (found) {
      return found.by === 'them' ? { kind: 'fenced', by: 'them' } : { kind: 'share-failed', inDoubt: true };
    }
    check(slot === this.#slots.length + 1, 'no slot is skipped');
    this.#append({ by: 'us', kind, epoch, digest });
    return undefined;
  }

  #giveBack(): void {
    const epoch = this.#slots.findLastIndex((entry) => entry.kind === 'claim') + 1;
    if (this.holder === 'us') this.#append({ by: 'us', kind: 'release', epoch, digest: '' });
  }

  #acquire(how: 'adopt' | 'migration' | 'recover'): LifecycleEvent {
    const { holder, head } = this;
    const { run, pending, dirty, published, hold } = this.state;
    if (holder === 'them') {
      return how === 'migration' ? { kind: 'share-failed', inDoubt: false } : { kind: 'fenced', by: 'them' };
    }
    if (holder === undefined && how === 'recover') {
      if (run === 'finishing' && pending === undefined && !dirty) return { kind: 'released' };
      if ((head?.slot ?? 0) !== (published?.slot ?? 0)) return { kind: 'fenced', by: 'them' };
    }
    const since = hold.kind === 'doubt' ? hold.epoch : 0;
    const isOver = run === 'finishing' && pending === undefined && !dirty;
    const theirs = this.#slots.some(({ by, kind }, at) => by === 'them' && kind === 'claim' && at >= since);
    const epoch = this.#append({ by: 'us', kind: 'claim', epoch: 0, digest: '' });
    if (how === 'recover' && theirs && !isOver) return { kind: 'fenced', by: 'them', claimed: true };
    return { kind: 'acquired', epoch, published: this.headInLog, history: [], outdated: [] };
  }
}

export function digestOf(content: number): string {
  return content.toString(16).padStart(4, '0').repeat(16);
}

function check(holds: boolean, claim: string): void {
  if (!holds) throw new Error(claim);
}
