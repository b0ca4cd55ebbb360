/**
 * plain-mirror: the control: `guest/plain-publisher.sh`, and the little that it takes to start a VM from its copy.
 */
import { contentDigest } from '../../src/model/hash.js';
import type { Host } from './machines/host.js';
import type { NfsServer } from './machines/nfs-server.js';
import type { Acknowledged, Mirror, Permission, Place, Safety } from './mirror.js';

const SERVICE = 'publisher';
const STATE_FILE = 'tpm2-00.permall';
/** How long a holder's sign of life is looked at before it counts as alive. */
const LOOK_SECONDS = 3;
/** The new name in a rename, as XDR writes it. */
const RENAMED = '\0\0\0\u0004head';

export class PlainMirror implements Mirror {
  readonly name = 'control';
  readonly #place: Place;
  readonly #program: string;

  constructor(place: Place, programDirectory: string) {
    this.#place = place;
    this.#program = `${programDirectory}/plain-publisher.sh`;
  }

  async makeShare({ machine }: NfsServer): Promise<void> {
    await machine.shell.run(`mkdir ${this.#place.shareOnServer}`);
  }

  async startService(host: Host): Promise<void> {
    await host.machine.shell.run(`mkdir -p ${this.#place.runDirectory}`);
    // On a full disk there is nothing to publish.
    await host.machine.shell.try(`mkdir -p ${this.#directory}`);
    const args = [this.#program, this.#stateFile, this.#place.share, host.name, this.#record];
    await host.driver.do({ kind: 'spawn', name: SERVICE, program: 'bash', args });
  }

  async killService(host: Host): Promise<void> {
    await host.driver.do({ kind: 'signal', name: SERVICE, signal: 'SIGKILL' });
  }

  async prepare(host: Host): Promise<Permission> {
    const { share, timing } = this.#place;
    const { status, stdout, stderr } = await host.machine.shell.try(`
      mkdir -p ${share} && cd ${share} || exit 4
      holder=$(cat holder 2>/dev/null)
      if [[ $holder && $holder != ${host.name} ]]; then
        first=$(cat "alive.$holder" 2>/dev/null) changes=0
        until (( $(date +%s) - $(cat "alive.$holder" 2>/dev/null) > ${Math.ceil(timing.expiryMs / 1000)} )); do
          sleep ${LOOK_SECONDS}
          now=$(cat "alive.$holder")
          if [[ $now != "$first" ]]; then
            # The first change may be no more than this client's cache coming up to date.
            first=$now changes=$((changes + 1))
            if ((changes > 1)); then echo "$holder holds it and is alive"; exit 3; fi
          fi
        done
      fi
      echo ${host.name} >holder.${host.name} && mv holder.${host.name} holder || exit 4
      ${this.#place.placement === 'direct' ? this.#linkState() : this.#copyState()}
    `);
    return { granted: status === 0, because: `${stdout} ${stderr}`.trim() };
  }

  #copyState(): string {
    return `
      mkdir -p ${this.#directory}
      if [[ -f head ]]; then cp head ${this.#stateFile} && echo restored; else echo new; fi
    `;
  }

  /** One directory on the share, for whichever host the VM runs on. */
  #linkState(): string {
    return `
      mkdir -p live $(dirname ${this.#directory})
      rm -rf ${this.#directory} && ln -s ${this.#place.share}/live ${this.#directory}
    `;
  }

  /** Once its holder shows no life. */
  async purge(host: Host): Promise<Permission> {
    const permission = await this.prepare(host);
    if (permission.granted) await host.machine.shell.run(`rm -f ${this.#place.share}/{head,holder}`);
    return permission;
  }

  async remains({ machine }: NfsServer): Promise<string> {
    const { shareOnServer } = this.#place;
    return (await machine.shell.run(`find ${shareOnServer} -name head -o -name holder`)).trim();
  }

  async started(): Promise<void> {
    // Nothing to tell: whatever lies in the directory is published.
  }

  async stopped(host: Host): Promise<void> {
    // A share that is away must not hold up the stop.
    await host.machine.shell.try(`timeout --signal KILL 5 rm -f ${this.#place.share}/holder`);
  }

  async look(): Promise<void> {
    // It does so all the time.
  }

  acknowledgementIn(line: string): Acknowledged | undefined {
    const [word, digest] = line.split(' ');
    return word === 'published' && digest ? { digest: asDigest(digest), slot: 0 } : undefined;
  }

  isCommit(frame: Buffer): boolean {
    return frame.includes('head.tmp') && frame.includes(RENAMED);
  }

  /** Whatever it has not published lies in the one place where it always lies; of an empty file it makes nothing. */
  async safety(host: Host): Promise<Safety> {
    const { stdout } = await host.machine.shell.try(`
      [[ ! -s ${this.#stateFile} || $(sha256sum <${this.#stateFile}) == $(cat ${this.#record}) ]] && echo published
    `);
    return stdout.trim() === 'published' ? 'published' : 'spooled';
  }

  async head(host: Host): Promise<string | undefined> {
    const name = this.#place.placement === 'direct' ? `live/${STATE_FILE}` : 'head';
    return await fileDigest(host, `${this.#place.share}/${name}`);
  }

  async verify(): Promise<string> {
    return '';
  }

  async diverged(): Promise<readonly string[]> {
    return [];
  }

  get #directory(): string {
    return `${this.#place.swtpmDirectory}/${this.#place.uuid}/tpm2`;
  }

  get #record(): string {
    return `${this.#place.runDirectory}/published`;
  }

  get #stateFile(): string {
    return `${this.#directory}/${STATE_FILE}`;
  }
}

async function fileDigest(host: Host, path: string): Promise<string | undefined> {
  const { status, stdout } = await host.machine.shell.try(`sha256sum <${path}`);
  return status === 0 ? asDigest(stdout.split(' ')[0] ?? '') : undefined;
}

/** What the driver gives for the same file. */
function asDigest(fileSha256: string): string {
  return contentDigest([{ role: 'tpm2', name: STATE_FILE, sha256: fileSha256 }]);
}
