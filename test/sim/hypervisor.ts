/**
 * hypervisor: libvirt on one host, for one boot: it starts, stops and loses guests, in libvirt's order of hooks, and deletes what libvirt deletes.
 *
 *   start    prepare → directory, swtpm → started           a refusal or failure: stopped, for a guest that never ran
 *   stop     guest ends → stopped → a transient domain's directory goes, whatever the hook said
 *   migrate  `migration.ts`
 *
 * I1 One job at a time for a domain on this host; a job that cannot begin is passed over.
 * I2 With the host's power everything here ends, in the middle of whatever it did.
 */
import type { Prepared } from '../../src/agent/start/prepared.js';
import { asMirrorError, errnoOf } from '../../src/model/errors.js';
import type { DomainUuid } from '../../src/model/identifiers.js';
import { sleep } from '../../src/model/environment.js';
import { Guest } from './guest.js';
import type { Hooks } from './hooks.js';
import { SWTPM_DIRECTORY } from './local-view.js';
import type { SeededRandom } from './random.js';
import type { Domain, Site } from './site.js';
import { contains, type SwtpmVersion, type TpmRun, type TpmState } from './tpm.js';
import type { RunClaim } from '../../src/model/run-claim.js';
import type { RunningProgram } from './world.js';

/** A guest in a file, with what was in its metadata. */
interface SavedGuest {
  readonly state: TpmState;
  readonly runClaim: RunClaim | undefined;
}

export type SaveFiles = Map<DomainUuid, SavedGuest>;

/** How long an announcement counts. */
const ANNOUNCED_MS = 60_000;

export interface HypervisorOptions {
  readonly site: Site;
  readonly host: string;
  readonly hooks: Hooks;
  readonly random: SeededRandom;
  /** Starts a process of this host. */
  readonly start: () => RunningProgram;
  readonly onChange: (uuid: DomainUuid) => void;
  /** What is installed on this host. */
  readonly swtpm: () => SwtpmVersion | undefined;
  readonly saved: SaveFiles;
}

/** Where a start fails: nowhere, or behind its swtpm. */
export interface StartOptions {
  /** The hook is missing: the guest starts with whatever lies there. */
  readonly pastHook: boolean;
  readonly fails: boolean;
}

export class Hypervisor {
  readonly program: RunningProgram;
  readonly #options: HypervisorOptions;
  readonly #guests = new Map<DomainUuid, Guest>();
  readonly #jobs = new Set<DomainUuid>();
  /** When a migration to this host was last announced and not followed by any start. */
  readonly #announcedMs = new Map<DomainUuid, number>();
  /** What is in the live metadata of each guest. */
  readonly #runClaims = new WeakMap<Guest, RunClaim>();

  constructor(options: HypervisorOptions) {
    this.#options = options;
    this.program = options.start();
  }

  get hooks(): Hooks {
    return this.#options.hooks;
  }

  /** Domains that have a running swtpm. */
  get running(): ReadonlySet<DomainUuid> {
    return new Set([...this.#guests].filter(([, { hasTpm }]) => hasTpm).map(([uuid]) => uuid));
  }

  /** Domains whose QEMU runs, with a swtpm or without. */
  get guests(): ReadonlySet<DomainUuid> {
    return new Set(this.#guests.keys());
  }

  /** Those whose guest runs, too: an incoming one's is still on its way. */
  get begun(): ReadonlySet<DomainUuid> {
    return new Set([...this.#guests].filter(([, { run }]) => run.began).map(([uuid]) => uuid));
  }

  /** Those that do nothing and outlive that. */
  get inactive(): ReadonlySet<DomainUuid> {
    const idle = this.#options.site.domains.filter(
      ({ uuid, transient }) => !transient && !this.#jobs.has(uuid) && !this.#guests.has(uuid),
    );
    return new Set(idle.map(({ uuid }) => uuid));
  }

  /** Those that libvirt on this host knows. */
  get known(): ReadonlySet<DomainUuid> {
    return new Set([...this.inactive, ...this.#jobs, ...this.#guests.keys()]);
  }

  guest(uuid: DomainUuid): Guest | undefined {
    return this.#guests.get(uuid);
  }

  /** Whether any job goes on. */
  get isWorking(): boolean {
    return this.#jobs.size > 0;
  }

  isBusy(uuid: DomainUuid): boolean {
    return this.#jobs.has(uuid);
  }

  /** @returns whether it ended as asked; `undefined` when it could not begin */
  start(domain: Domain, { pastHook, fails }: StartOptions): Promise<boolean> | undefined {
    if (this.#guests.has(domain.uuid)) return undefined;
    return this.job(domain, async () => {
      const prepared = pastHook ? undefined : await this.#prepare(domain);
      if (!pastHook && !prepared) return false;
      await this.pause(50);
      // Started without the share, it is known to this host alone.
      const isKnown = prepared?.hold.kind === 'held' || this.#options.site.oracle.hadState(domain.uuid);
      const guest = this.open(domain, { isKnown, isPastHook: pastHook, isIncoming: false });
      if (await this.#boot(guest, prepared, fails)) return true;
      this.#kill(guest);
      if (!pastHook) await this.tellStopped(domain, guest.run, 'failed');
      return false;
    });
  }

  stop(domain: Domain): Promise<boolean> | undefined {
    const guest = this.#guests.get(domain.uuid);
    if (!guest) return undefined;
    return this.job(domain, async () => {
      await this.wait(guest.end());
      this.#guests.delete(domain.uuid);
      return await this.afterStop(domain, guest.run, 'shutdown');
    });
  }

  /** `virsh managedsave`: its memory, and its TPM's, go to a file, and it ends. */
  save(domain: Domain): Promise<boolean> | undefined {
    const { uuid } = domain;
    const guest = this.#guests.get(uuid);
    if (!guest?.run.began || !guest.hasTpm) return undefined;
    return this.job(domain, async () => {
      const runClaim = this.runClaimOf(guest);
      const state = await this.wait(guest.end());
      if (state) this.#options.saved.set(uuid, { state, runClaim });
      this.#guests.delete(uuid);
      return await this.afterStop(domain, guest.run, 'saved');
    });
  }

  /** A start that brings its TPM with it. @returns `undefined` where there is no file, or one that says nothing of its age */
  restoreSaved(domain: Domain): Promise<boolean> | undefined {
    const { site, host, saved } = this.#options;
    const { uuid } = domain;
    const file = saved.get(uuid);
    if (!file || this.#guests.has(uuid)) return undefined;
    const { local } = site.host(host);
    const here = [local.state(uuid) ?? file.state, ...local.spooled(uuid)];
    const isNewest = site.oracle.isNewest(uuid, file.state) && here.every((one) => contains(file.state, one));
    // What has no claim is let through, whatever it is: whoever restores it knows that.
    if (!file.runClaim && !isNewest) return undefined;
    return this.job(domain, async () => {
      try {
        await this.wait(this.hooks.restoring(uuid, file.runClaim));
      } catch (error) {
        site.told(host, 'restore', error);
        return false;
      }
      const prepared = await this.#prepare(domain, file.runClaim);
      if (!prepared) return false;
      const isKnown = prepared.hold.kind === 'held' || site.oracle.hadState(uuid);
      const guest = this.open(domain, { isKnown, isPastHook: false, isIncoming: true });
      if (guest.canRead(file.state) && (await this.#takeIn(guest, file, prepared))) {
        saved.delete(uuid);
        return true;
      }
      this.#kill(guest);
      await this.tellStopped(domain, guest.run, 'failed');
      return false;
    });
  }

  async #takeIn(guest: Guest, { state, runClaim }: SavedGuest, prepared: Prepared): Promise<boolean> {
    const { site, host } = this.#options;
    const { run } = guest;
    this.setRunClaim(guest, runClaim);
    run.began = true;
    await this.wait(guest.receive(state));
    site.oracle.began(guest.state, run);
    site.oracle.savedTakenIn(run, state, prepared);
    guest.begin();
    try {
      await this.wait(this.hooks.launched(run.uuid));
      site.oracle.started(run);
      return true;
    } catch (error) {
      site.told(host, 'started', error);
      return false;
    }
  }

  /** The guest is gone without a word; libvirt may notice. */
  crash(domain: Domain, noticed: boolean): Promise<boolean> | undefined {
    const guest = this.#guests.get(domain.uuid);
    if (!guest) return undefined;
    return this.job(domain, async () => {
      this.#kill(guest);
      await this.pause(20);
      return !noticed || (await this.afterStop(domain, guest.run, 'crashed'));
    });
  }

  /** Its swtpm dies alone, under a QEMU that runs on. */
  loseTpm(domain: Domain): Promise<boolean> | undefined {
    const guest = this.#guests.get(domain.uuid);
    if (!guest?.run.began || !guest.hasTpm) return undefined;
    return this.job(domain, () => {
      guest.loseTpm();
      return Promise.resolve(true);
    });
  }

  /** The stop hook, and what libvirt does after it. */
  async afterStop(domain: Domain, run: TpmRun, reason: string): Promise<boolean> {
    const answered = await this.tellStopped(domain, run, reason);
    if (domain.transient) await this.deleteDirectory(domain);
    return answered;
  }

  /** @returns whether the hook ended well */
  async tellStopped({ uuid }: Domain, run: TpmRun, reason: string): Promise<boolean> {
    const { site, host } = this.#options;
    const final = this.#localState(uuid);
    try {
      const answer = await this.wait(this.hooks.stopped(uuid, reason));
      site.oracle.stopAnswered(run, answer, final, reason);
      return true;
    } catch (error) {
      site.told(host, 'stop', error);
      if (!site.host(host).isFull) site.oracle.stopFailed(run, final, asMirrorError(error).code);
      return false;
    }
  }

  /** Undefine, or the end of a transient domain: the whole directory goes. */
  async deleteDirectory({ uuid }: Domain): Promise<void> {
    const { local } = this.program;
    const directory = `${SWTPM_DIRECTORY}/${uuid}`;
    for (const path of [`${directory}/tpm2`, directory]) {
      try {
        for (const name of await local.readdir('libvirt:readdir', path)) {
          if (name !== 'tpm2') await local.unlink('libvirt:unlink', `${path}/${name}`);
        }
        await local.rmdir('libvirt:rmdir', path);
      } catch (error) {
        // Its swtpm, if one runs, goes on making files.
        if (!['ENOENT', 'ENOTEMPTY'].includes(errnoOf(error) ?? '')) throw error;
      }
    }
  }

  /** A guest's swtpm, running and without a state yet. */
  open({ uuid, nvram }: Domain, how: Pick<TpmRun, 'isKnown' | 'isPastHook' | 'isIncoming'>): Guest {
    const { site, host, start, random, onChange, swtpm } = this.#options;
    const guest = new Guest({
      program: start(),
      directory: `${SWTPM_DIRECTORY}/${uuid}`,
      nvram,
      run: site.newRun(uuid, host, how),
      ledger: site.ledger,
      swtpm: swtpm(),
      random,
      restMs: () => site.restMs,
      nowMs: () => site.nowMs,
      onChange: () => {
        onChange(uuid);
      },
    });
    this.#guests.set(uuid, guest);
    return guest;
  }

  /** libvirt's `migrate` hook: of a live migration and of an offline one, or of one that is refused then. */
  announce(uuid: DomainUuid): void {
    this.#announcedMs.set(uuid, this.#options.site.nowMs);
  }

  /** As `host/incoming-marker` has it: once, and not for long. */
  takeAnnouncement(uuid: DomainUuid): boolean {
    const atMs = this.#announcedMs.get(uuid) ?? -Infinity;
    this.#announcedMs.delete(uuid);
    return this.#options.site.nowMs - atMs <= ANNOUNCED_MS;
  }

  /** The claim in a guest's live metadata. */
  runClaimOf(guest: Guest): RunClaim | undefined {
    return this.#runClaims.get(guest);
  }

  setRunClaim(guest: Guest | undefined, claim: RunClaim | undefined): boolean {
    if (!guest) return false;
    if (claim) this.#runClaims.set(guest, claim);
    return true;
  }

  forget({ run }: Guest): void {
    this.#guests.delete(run.uuid);
  }

  /** One job on a domain. */
  job(domain: Domain, work: () => Promise<boolean>): Promise<boolean> | undefined {
    const { uuid } = domain;
    if (this.#jobs.has(uuid) || !this.program.process.alive) return undefined;
    this.#jobs.add(uuid);
    return this.wait(work()).finally(() => this.#jobs.delete(uuid));
  }

  /** The outcome while this host has power; for ever pending without it. */
  wait<T>(promise: Promise<T>): Promise<T> {
    return this.program.process.whileAlive(promise);
  }

  pause(upToMs: number): Promise<void> {
    return sleep(this.program.clock, this.#options.random.between([0, upToMs]));
  }

  async #prepare(domain: Domain, runClaim?: RunClaim): Promise<Prepared | undefined> {
    const { site, host } = this.#options;
    site.oracle.prepareAsked(host, domain.uuid);
    try {
      const incoming = this.takeAnnouncement(domain.uuid);
      const asked = { incoming, runClaim, nvramPath: domain.nvram };
      const prepared = await this.wait(this.hooks.prepare(domain.uuid, asked));
      site.oracle.prepareAnswered(host, domain.uuid, prepared);
      site.coverage.count(`prepare: ${prepared.decision}`);
      return prepared;
    } catch (error) {
      site.told(host, 'prepare', error);
      const mayExpire = site.schedule.options.takeOver === 'expired';
      site.oracle.startRefused(host, domain.uuid, asMirrorError(error).code, mayExpire);
      await this.wait(this.hooks.stopped(domain.uuid, 'failed')).catch((later: unknown) => {
        site.told(host, 'stop', later);
      });
      return undefined;
    }
  }

  async #boot(guest: Guest, prepared: Prepared | undefined, fails: boolean): Promise<boolean> {
    const { site, host } = this.#options;
    const { run } = guest;
    const loaded = await this.wait(guest.load());
    // A start that was let through as a migration, and is none, is ended a moment later.
    const isArrival = prepared?.decision === 'wait-incoming';
    const hadState = site.oracle.hadState(run.uuid);
    if (!isArrival) site.oracle.guestLoaded(run, loaded, prepared);
    if (typeof loaded === 'string' && loaded !== 'blank') return false;
    if (fails) {
      await this.wait(guest.write(1));
      return false;
    }
    run.began = true;
    site.oracle.began(guest.state, run);
    guest.begin();
    if (!prepared) return true;
    await this.pause(50);
    try {
      await this.wait(this.hooks.launched(run.uuid));
      if (isArrival) site.oracle.guestLoaded(run, loaded, prepared, hadState);
      site.oracle.started(run);
      return true;
    } catch (error) {
      site.told(host, 'started', error);
      return false;
    }
  }

  #kill(guest: Guest): void {
    guest.kill();
    this.#guests.delete(guest.run.uuid);
  }

  #localState(uuid: DomainUuid): TpmState | undefined {
    return this.#options.site.host(this.#options.host).local.state(uuid);
  }
}
