/**
 * product: a host with its share and its agent, with the timings that it has when nothing is configured.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HostFixture, type Settings } from '../../test/fixtures/host.js';
import { builtProgram, type AgentProcess } from '../../test/fixtures/program.js';
import { EventFeed } from './event-feed.js';
import type { Bench } from './measurement.js';
import { parseConfig } from '../../src/model/config.js';

const UUID_PREFIX = '6b0c2d4e-7a1f-4c3b-9d55-';

const DEFAULTS = parseConfig('', { hostName: 'kvm-a' }).timing;
/** `timing.settle`, which a change waits for that follows another closely. */
export const SETTLE_MS = DEFAULTS.settleMs;

/** The n-th domain. */
export function domainUuid(number: number): string {
  return `${UUID_PREFIX}${number.toString(16).padStart(12, '0')}`;
}

export function domainUuids(count: number, first = 1): string[] {
  return Array.from({ length: count }, (_, index) => domainUuid(first + index));
}

export class Product {
  readonly host: HostFixture;
  agent: AgentProcess | undefined;
  #feed: EventFeed | undefined;
  readonly #bench: Bench;

  private constructor(bench: Bench, host: HostFixture) {
    this.#bench = bench;
    this.host = host;
  }

  /** Makes host and share in a directory of the bench; no agent runs yet. */
  static async create(bench: Bench, settings: Settings = {}, base = bench.directory): Promise<Product> {
    const share = join(base, 'share');
    const host = await HostFixture.create({ name: 'kvm-a', base, share, settings: withDefaults(settings) });
    await host.runJson(['share', 'init', host.share]);
    return new Product(bench, host);
  }

  async start(): Promise<void> {
    this.agent = await this.host.startAgent(this.#bench.scope);
    this.#feed = await EventFeed.open(this.#bench.scope, this.host.controlSocket);
  }

  get feed(): EventFeed {
    if (!this.#feed) throw new Error('expected a running agent');
    return this.#feed;
  }

  get agentPid(): number {
    if (!this.agent) throw new Error('expected a running agent');
    return this.agent.pid;
  }

  /** @throws Error when the agent refuses */
  async call(uuid: string, verb: string, body: object = {}): Promise<void> {
    const path = `/v1/domains/${uuid}/${verb}`;
    const answer = await this.host.request({ method: 'POST', path, body });
    if (answer.status !== 200) throw new Error(`${verb} of ${uuid}: ${answer.status} ${answer.body}`);
  }

  volume(uuid: string): string {
    return join(this.host.share, 'volumes', uuid);
  }
}

/** With the timings that the program has by itself, where a test host would have short ones. */
function withDefaults({ timing, ...others }: Settings): Settings {
  const ms = (duration: number): string => `${String(duration)}ms`;
  return {
    ...others,
    timing: {
      settle: ms(DEFAULTS.settleMs),
      heartbeat: ms(DEFAULTS.heartbeatMs),
      host_expiry: ms(DEFAULTS.hostExpiryMs),
      share_deadline: ms(DEFAULTS.shareDeadlineMs),
      start_deadline: ms(DEFAULTS.startDeadlineMs),
      stop_deadline: ms(DEFAULTS.stopDeadlineMs),
      ...timing,
    },
  };
}

/** The domain's XML as libvirt gives it to a hook. */
export function hookXml(uuid: string, name: string): string {
  const path = join(import.meta.dirname, '../../test/fixtures/libvirt-xml/prepare.xml');
  return readFileSync(path, 'utf8')
    .replace(/<uuid>.*<\/uuid>/, `<uuid>${uuid}</uuid>`)
    .replace(/<name>.*<\/name>/, `<name>${name}</name>`);
}

/** What the hook is run with, before the four words of libvirt's. */
export async function hookCommand(host: HostFixture): Promise<string[]> {
  return [process.execPath, await builtProgram(), 'hook', '--config', host.config, '--'];
}
