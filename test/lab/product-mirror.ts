/**
 * product-mirror: the built program in the guests: its agent, its control socket, its commands.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { waitUntil } from '../fixtures/wait-until.js';
import { formatGenerationName, parseGenerationName, parseSlot } from '../../src/model/generation-name.js';
import { parsePayload } from '../../src/model/log-entry.js';
import { readVolumeLog, type VolumeLog } from '../../src/model/volume-log.js';
import { runChecked, runCommand } from '../fixtures/process.js';
import type { HttpAnswer } from './guest/driver-protocol.js';
import type { GuestShell } from './machines/guest-shell.js';
import type { Host } from './machines/host.js';
import type { NfsServer } from './machines/nfs-server.js';
import {
  LOOK_INTERVAL_MS,
  type Acknowledged,
  type Mirror,
  type Permission,
  type Place,
  type Safety,
} from './mirror.js';

const SERVICE = 'agent';
const READY_TIMEOUT_MS = 120_000;
const PUBLISHED = z.object({ kind: z.literal('published'), slot: z.number(), digest: z.string() });
const FAILURE = z.object({ error: z.object({ code: z.string(), message: z.string() }) });
const DECISION = z.object({ decision: z.string() });
const DOMAIN = z.object({
  state: z.string(),
  pending: z.string(),
  attention: z.array(z.object({ code: z.string() })),
});

export class ProductMirror implements Mirror {
  readonly name = 'product';
  readonly #place: Place;
  readonly #directory: string;

  constructor(place: Place, programDirectory: string) {
    this.#place = place;
    this.#directory = programDirectory;
  }

  /** A share that was made on this machine: a command takes long in a guest. */
  async makeShare({ machine }: NfsServer): Promise<void> {
    const { shareOnServer, uid } = this.#place;
    await machine.shell.run(`
      if [[ ! -d ${shareOnServer} ]]; then
        cp -r ${this.#directory}/share ${shareOnServer}
        chown -R ${uid}:${uid} ${shareOnServer}
        sync
      fi
    `);
  }

  async startService(host: Host): Promise<void> {
    if (await this.#serves(host)) return;
    await this.#configure(host);
    const args = [this.#program, 'agent', '--config', this.#config];
    await host.driver.do({ kind: 'spawn', name: SERVICE, program: 'node', args });
    const isServing = async (): Promise<true | undefined> => ((await this.#serves(host)) ? true : undefined);
    await waitUntil(`the agent of ${host.name} to serve`, READY_TIMEOUT_MS, isServing, LOOK_INTERVAL_MS);
  }

  async #serves(host: Host): Promise<boolean> {
    const answer = await this.request(host, 'GET', '/healthz').catch(() => undefined);
    return answer?.status === 200;
  }

  async killService(host: Host): Promise<void> {
    await host.driver.do({ kind: 'signal', name: SERVICE, signal: 'SIGKILL' });
  }

  async prepare(host: Host): Promise<Permission> {
    const answer = await this.#act(host, 'prepare', { name: 'vm' });
    if (answer.status === 200) {
      return { granted: true, because: DECISION.parse(JSON.parse(answer.body)).decision };
    }
    const { error } = FAILURE.parse(JSON.parse(answer.body));
    return { granted: false, because: `${error.code}: ${error.message}` };
  }

  async started(host: Host): Promise<void> {
    expectOk(await this.#act(host, 'started', {}));
  }

  async stopped(host: Host): Promise<void> {
    expectOk(await this.#act(host, 'stopped', { reason: 'shutdown' }));
  }

  /** Whether the share takes it does not matter. */
  async look(host: Host): Promise<void> {
    await this.#act(host, 'capture', {});
  }

  async purge(host: Host): Promise<Permission> {
    const { status, stderr } = await host.machine.shell.try(
      this.#commandLine(`purge ${this.#place.uuid} --yes`),
    );
    return { granted: status === 0, because: stderr.trim() };
  }

  async remains({ machine }: NfsServer): Promise<string> {
    const { shareOnServer, uuid } = this.#place;
    const found = await machine.shell.run(`
      find ${shareOnServer} -path '*/${uuid}*' ! -name ${uuid} ! -path '*/diverged*'
    `);
    return found.trim();
  }

  acknowledgementIn(line: string): Acknowledged | undefined {
    if (!line.includes('"published"')) return undefined;
    return PUBLISHED.safeParse(JSON.parse(line)).data;
  }

  /** The target of the symbolic link, on every version of NFS. */
  isCommit(frame: Buffer): boolean {
    return frame.includes('../gen/');
  }

  async safety(host: Host): Promise<Safety> {
    const answer = await this.request(host, 'GET', `/v1/domains/${this.#place.uuid}`);
    if (answer.status !== 200) return 'unknown';
    const { state, pending, attention } = DOMAIN.parse(JSON.parse(answer.body));
    if (state === 'fenced') return 'fenced';
    if (attention.some(({ code }) => code === 'NO_STATE')) return 'unknown';
    return pending === 'none' ? 'published' : pending === 'spooled' ? 'spooled' : 'unknown';
  }

  async head(host: Host): Promise<string | undefined> {
    return (await this.log(host)).head?.digestPrefix;
  }

  /** On this machine, too, with what the server's disk holds of this VM. */
  async verify({ machine }: NfsServer): Promise<string> {
    const copy = await mkdtemp('/tmp/nfs-lab-verify-');
    try {
      const archive = await this.#archiveOnServer(machine.shell);
      await runChecked('tar', ['--extract', '--directory', copy], { input: Buffer.from(archive, 'base64') });
      await writeFile(`${copy}.toml`, `share = "${copy}"\nstate_dir = "${copy}/none"\n`);
      const { status, stdout, stderr } = await runCommand('node', [
        this.#program,
        'verify',
        '--all',
        '--config',
        `${copy}.toml`,
      ]);
      return status === 0 ? '' : `${stdout.toString()} ${stderr}`.trim();
    } finally {
      await rm(copy, { recursive: true, force: true });
      await rm(`${copy}.toml`, { force: true });
    }
  }

  /**
   * In base64. Without the records of hosts, which are written all the time; should anything else go while it is read, once more.
   */
  async #archiveOnServer(shell: GuestShell): Promise<string> {
    const { shareOnServer, uuid } = this.#place;
    return await shell.run(`
      cd ${shareOnServer}
      archive() {
        find . -path './volumes/*' ! -path './volumes/${uuid}*' -prune -o -path './hosts/*' -prune -o -print0 |
          tar --create --null --no-recursion --files-from - | base64 -w0 >/run/lab/archive
      }
      archive || archive || archive
      cat /run/lab/archive
    `);
  }

  async diverged(host: Host): Promise<readonly string[]> {
    const { published } = await this.log(host);
    const counted = new Set(published.map(({ generation }) => formatGenerationName(generation)));
    const names = (await this.#list(host, ['diverged', 'gen'], '%f')).filter((name) => !counted.has(name));
    return names.flatMap((name) => parseGenerationName(name)?.digestPrefix ?? []);
  }

  /** The volume's log, read in the guest by other means than the program's. */
  async log(host: Host): Promise<VolumeLog> {
    const links = await this.#list(host, ['log'], '%f %l');
    return readVolumeLog(
      links.flatMap((line) => {
        const [name = '', payload = ''] = line.split(' ');
        const slot = parseSlot(name);
        return slot === undefined ? [] : [parsePayload(slot, payload)];
      }),
    );
  }

  async #list(host: Host, directories: readonly string[], format: string): Promise<string[]> {
    const { share, uuid } = this.#place;
    const places = directories.map((name) => `${share}/volumes/${uuid}/${name}`).join(' ');
    // A name that goes while they are listed, such as that of a file that is being written, makes find fail.
    const output = await host.machine.shell.run(`
      list() {
        for place in ${places}; do
          if [[ -d $place ]]; then find $place -mindepth 1 -printf '${format}\\n' || return; fi
        done
      }
      names=$(list) || names=$(list) || names=$(list)
      printf '%s\\n' "$names"
    `);
    return output.split('\n').filter((line) => line !== '');
  }

  async command(host: Host, words: string): Promise<string> {
    return await host.machine.shell.run(this.#commandLine(words));
  }

  async request(host: Host, method: 'GET' | 'POST', path: string, body?: object): Promise<HttpAnswer> {
    const socket = `${this.#place.runDirectory}/control.sock`;
    return await host.driver.request({ socket, method, path, ...(body && { body }) });
  }

  get #program(): string {
    return `${this.#directory}/swtpm-mirror.cjs`;
  }

  get #config(): string {
    return `${this.#place.runDirectory}/config.toml`;
  }

  #commandLine(words: string): string {
    return `node ${this.#program} ${words} --config ${this.#config}`;
  }

  async #act(host: Host, verb: string, body: object): Promise<HttpAnswer> {
    return await this.request(host, 'POST', `/v1/domains/${this.#place.uuid}/${verb}`, body);
  }

  async #configure(host: Host): Promise<void> {
    const { share, stateDirectory, swtpmDirectory, runDirectory, timing, uid } = this.#place;
    const { placement, generations } = this.#place;
    await host.machine.shell.run(`
      mkdir -p ${stateDirectory} ${swtpmDirectory} ${runDirectory}
      cat >${this.#config} <<'TOML'
host = "${host.name}"
share = "${share}"
state_dir = "${stateDirectory}"
run_dir = "${runDirectory}"
placement = "${placement}"
[libvirt]
swtpm_dir = "${swtpmDirectory}"
log_dir = "${runDirectory}"
nvram = false
[timing]
settle = "10ms"
heartbeat = "${timing.heartbeatMs}ms"
host_expiry = "${timing.expiryMs}ms"
share_deadline = "${timing.shareDeadlineMs}ms"
start_deadline = "120s"
stop_deadline = "${2 * timing.shareDeadlineMs}ms"
retry_max = "2s"
[retention]
generations = ${generations}
[storage]
uid = ${uid}
gid = ${uid}
TOML
    `);
  }
}

/** An empty share, made by the program. */
export async function makeShareTemplate(programDirectory: string): Promise<void> {
  const config = `${programDirectory}/template.toml`;
  await writeFile(config, '');
  await runChecked('node', [
    `${programDirectory}/swtpm-mirror.cjs`,
    'share',
    'init',
    `${programDirectory}/share`,
    '--config',
    config,
  ]);
}

function expectOk({ status, body }: HttpAnswer): void {
  if (status !== 200) throw new Error(`the agent answered ${status}: ${body.trim()}`);
}
