/**
 * schedule: what happens in one run of the simulator, step by step. Plain data, made from a seed (`schedule-maker.ts`), shrunk when it fails
 * (`shrink.ts`) and kept as a regression (`regressions.json`).
 *
 * A step names what is tried; one that makes no sense when its turn comes (a stop of a guest that does not run) does nothing, so that any step can be
 * left out.
 */
import type { Arm } from './arms.js';
import type { Choice } from './operator.js';
import type { SwtpmVersion } from './tpm.js';

export type Roughness = 'calm' | 'rough' | 'hostile';

export interface ScheduleOptions {
  readonly roughness: Roughness;
  readonly hosts: number;
  /** One for each domain: whether libvirt forgets it, and deletes its directory, when it stops. */
  readonly transient: readonly boolean[];
  /** Where the share is: an NFS export, or a directory of the one host. */
  readonly share: 'nfs' | 'local';
  /** Hosts whose mount is soft. */
  readonly soft: readonly number[];
  /** Hosts that leave no claim with their guests, as those without an agent or virsh. */
  readonly silent?: readonly number[];
  readonly withoutShare: 'refuse' | 'last-known';
  readonly takeOver: 'expired' | 'never';
  /** Files' times on the share are of the clock of the host that writes them, as on CephFS. @default 'server' */
  readonly times?: 'server' | 'writer';
  /** The last host has no power until its disk becomes an image of another host's. */
  readonly spare?: boolean;
  /** Whether firmware tells one machine from a copy of its disk in another one. */
  readonly hardware?: boolean;
  /** The swtpm of each host. @default one that writes as every version can read it */
  readonly swtpm?: readonly SwtpmVersion[];
  /** Domains have firmware variables beside their TPM. */
  readonly nvram?: boolean;
  /** Published generations to keep. */
  readonly retention: number;
}

interface OnHost {
  readonly host: number;
}

interface OnDomain extends OnHost {
  readonly domain: number;
}

export type Action =
  | ({ readonly do: 'start'; readonly pastHook: boolean; readonly fails: boolean } & OnDomain)
  | ({ readonly do: 'stop' } & OnDomain)
  | ({ readonly do: 'crash'; readonly noticed: boolean } & OnDomain)
  | ({ readonly do: 'write'; readonly times: number } & OnDomain)
  | ({ readonly do: 'capture' } & OnDomain)
  /** Its swtpm dies alone, under a QEMU that runs on. */
  | ({ readonly do: 'lose-tpm' } & OnDomain)
  | ({ readonly do: 'delete-directory' } & OnDomain)
  /** Somebody puts a state of the same TPM into its directory while it is shut off. */
  | ({ readonly do: 'place'; readonly older: boolean; readonly newerFormat?: boolean } & OnDomain)
  /** Somebody chooses the state that it goes on with. */
  | ({ readonly do: 'resolve'; readonly keep: Choice } & OnDomain)
  /** It is saved to a file, as `virsh managedsave` does. */
  | ({ readonly do: 'save' } & OnDomain)
  /** It is restored from the file that it was last saved to on this host. */
  | ({ readonly do: 'restore-saved' } & OnDomain)
  | ({ readonly do: 'take-over'; readonly force: boolean } & OnDomain)
  /** A migration to this host is announced, and nothing of it follows: it was an offline one, or was refused. */
  | ({ readonly do: 'announce' } & OnDomain)
  | ({
      readonly do: 'migrate';
      readonly to: number;
      readonly fails: boolean;
      readonly confirmed: boolean;
    } & OnDomain)
  | ({ readonly do: 'kill-agent' | 'stop-agent' | 'start-agent' } & OnHost)
  /** Another swtpm is installed. Those that run stay what they are. */
  | ({ readonly do: 'install-swtpm'; readonly version: SwtpmVersion } & OnHost)
  /** The agent starts again under another name: the host's first one for 0. */
  | ({ readonly do: 'rename'; readonly to: number } & OnHost)
  /** The spare machine starts with an image of this host's disk. */
  | ({ readonly do: 'clone' } & OnHost)
  /** The operator gives the copy an identity and a name of its own. */
  | { readonly do: 'separate' }
  /** Somebody, or a clock that jumped, sets a host's heartbeat into the future. */
  | ({ readonly do: 'future-beat'; readonly ms: number } & OnHost)
  | ({ readonly do: 'pause'; readonly ms: number } & OnHost)
  | ({ readonly do: 'power-loss'; readonly downMs: number } & OnHost)
  | ({ readonly do: 'partition'; readonly ms: number } & OnHost)
  | ({ readonly do: 'lose-events'; readonly ms: number } & OnHost)
  | ({ readonly do: 'fill-disk'; readonly ms: number } & OnHost)
  /** No state file of the host can be read. */
  | ({ readonly do: 'blind'; readonly ms: number } & OnHost)
  | { readonly do: 'fill-share'; readonly ms: number }
  | { readonly do: 'crash-server'; readonly downMs: number; readonly graceMs: number }
  | ({ readonly do: 'arm'; readonly arm: Arm } & OnHost)
  /** From here on guests write only what steps tell them to. */
  | { readonly do: 'quiet' }
  | { readonly do: 'wait' };

/** What is done, and how long the world goes on before the next. */
export type Step = Action & { readonly thenMs: number };

export interface Schedule {
  readonly seed: string;
  readonly options: ScheduleOptions;
  readonly steps: readonly Step[];
}

/** One line a step. */
export function describeSchedule({ seed, options, steps }: Schedule): string {
  const lines = steps.map(({ do: what, thenMs, ...rest }, at) => {
    const details = Object.entries(rest).map(([key, value]) => `${key} ${describeValue(value)}`);
    return (
      `${String(at + 1).padStart(4)}. ${what.padEnd(16)} ${details.join(', ')}`.trimEnd() +
      `, then ${thenMs} ms`
    );
  });
  return [`seed ${seed}  ${JSON.stringify(options)}`, ...lines].join('\n');
}

function describeValue(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
