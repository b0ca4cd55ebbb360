/**
 * run-metadata: leaves a run's claim in its domain's live metadata, which a migration takes along and
 * a save file keeps. What is defined is never touched (`--live` alone), so that it ends with the run.
 */
import type { Clock } from '../model/environment.js';
import { formatRunClaim, RUN_NAMESPACE, type RunClaim } from '../model/run-claim.js';
import type { DomainUuid } from '../model/identifiers.js';
import { VirshSession } from './virsh-session.js';
import type { Virsh } from './virsh-adapter.js';

/** The prefix that libvirt gives the element. */
const KEY = 'mirror-run';

export class RunMetadata {
  readonly #session: VirshSession;

  constructor(virsh: Virsh, clock: Pick<Clock, 'after'>) {
    this.#session = new VirshSession(virsh, clock);
  }

  /** @returns whether it stands there now */
  async write(uuid: DomainUuid, claim: RunClaim): Promise<boolean> {
    const element = formatRunClaim(uuid, claim);
    return await this.#session.run(
      `metadata --domain ${uuid} --uri ${RUN_NAMESPACE} --live --key ${KEY} --set "${element}"`,
    );
  }

  close(): void {
    this.#session.close();
  }
}
