/**
 * tree-operations: everything that the product does on a share and in a host's directories, each as
 * one call in a world of planted trees.
 */
import { hostNamed } from '../fixtures/host-identity.js';
import { domainPaths } from '../../src/host/domain-paths.js';
import { orHostError } from '../../src/host/host-error.js';
import type { HostContext } from '../../src/host/host-context.js';
import { instantClock } from '../fakes/host-rig.js';
import { restoreState, sweepStaging } from '../../src/host/state-directory.js';
import { linkedDomains, movedLinks, takeLinksAway } from '../../src/host/state-links.js';
import { readState, readStateNow } from '../../src/host/state-reader.js';
import { stampState } from '../../src/host/state-stamp.js';
import { systemClock } from '../../src/host/node-environment.js';
import { linkFree, type FileSystem } from '../../src/model/filesystem.js';
import { type DomainUuid } from '../../src/model/identifiers.js';
import { createLocalShareStore } from '../../src/volume/local-share-store.js';
import type { ShareService } from '../../src/volume/share-administration.js';
import { livePath } from '../../src/volume/share-context.js';
import { NOTE, tpmCapture } from '../fixtures/tpm-captures.js';
import { claimCall } from '../fixtures/volume-steps.js';
import type { SeededRandom } from '../sim/random.js';
import { runAgent, runCommand, type ProgramSite } from './tree-program.js';
import { SNAPSHOT, type TreeWorld } from './tree-world.js';

export type Placement = 'mirror' | 'direct';

/** What an operation works with; `epoch` and `next` are as the last claim left them. */
export interface Actor {
  readonly world: TreeWorld;
  readonly store: ShareService;
  readonly host: HostContext;
  /** The whole of the files, as a program has them. */
  readonly files: FileSystem;
  readonly random: SeededRandom;
  readonly placement: Placement;
  uuid: DomainUuid;
  epoch: number;
  next: number;
  parent: number;
}

export function makeActor(
  world: TreeWorld,
  fs: FileSystem,
  random: SeededRandom,
  placement: Placement,
  uuid: DomainUuid,
): Actor {
  const common = { fs, random };
  const { share: root, stateDirectory } = world;
  const host = { self: hostNamed('kvm-a') };
  const store = createLocalShareStore({ ...common, ...host, root, clock: systemClock });
  const hostFiles = linkFree(fs, world.swtpmRoot, 'HOST_TAMPERED');
  const context = { fs: hostFiles, random, clock: instantClock(), stateDirectory };
  const known = { epoch: 1, next: 5, parent: 4 };
  return { world, store, host: context, files: fs, random, placement, uuid, ...known };
}

type Operation = (actor: Actor) => Promise<unknown>;

const SHARE_OPERATIONS: Record<string, Operation> = {
  beat: ({ store }) => store.beat({ shareId: undefined }),
  leave: ({ store }) => store.leave({}),
  identify: ({ store }) => store.identify({}),
  list: ({ store }) => store.list({}),
  inspect: ({ store, uuid }) =>
    store.inspect({ ...claimCall('free', 'start', uuid), withHead: true, since: 0 }),
  claim: async (actor) => {
    const scope = actor.random.pick(['free', 'expired', 'forced'] as const);
    const outcome = await actor.store.claim(claimCall(scope, 'start', actor.uuid));
    if (outcome.kind !== 'claimed') return;
    actor.epoch = outcome.epoch;
    actor.next = outcome.epoch + 1;
    actor.parent = outcome.log.head?.slot ?? 0;
  },
  publish: async (actor) => {
    const { uuid, epoch, next: slot, parent } = actor;
    const capture = tpmCapture(actor.random.int(1, 50), uuid);
    const outcome = await actor.store.publish({ uuid, epoch, slot, parent, capture, note: NOTE });
    if (outcome.kind !== 'committed') return;
    actor.parent = slot;
    actor.next = slot + 1;
  },
  release: ({ store, uuid, epoch, next: slot }) =>
    store.closeEpoch({ uuid, kind: 'release', epoch, slot, reason: 'stop' }),
  diverge: ({ store, uuid, epoch, next: slot, random }) => {
    const capture = tpmCapture(random.int(60, 90), uuid);
    return store.diverge({ uuid, epoch, slot, capture, note: NOTE, supersedes: undefined });
  },
  tidy: ({ store, uuid, epoch }) => store.tidy({ uuid, epoch, keep: 1 }),
  fetch: ({ store, uuid, random }) => store.fetch({ uuid, slot: 'head', fallBack: random.chance(0.5) }),
  history: ({ store, uuid }) => store.history({ uuid }),
  verify: ({ store, uuid }) => store.verify({ uuid }),
  pin: ({ store, uuid }) => store.pin({ uuid, name: SNAPSHOT, slot: 'head' }),
  unpin: ({ store, uuid }) => store.unpin({ uuid, name: SNAPSHOT }),
  pins: ({ store, uuid }) => store.pins({ uuid }),
  fetchPin: ({ store, uuid }) => store.fetchPin({ uuid, name: SNAPSHOT }),
  survey: ({ store }) => store.survey({ hostExpiryMs: 30_000, shareId: undefined }),
  summarise: ({ store, uuid }) => store.summarise({ uuid }),
  examine: ({ store }) => store.examine({ shareId: undefined }),
  purge: ({ store, uuid, random }) =>
    store.purge({ uuid, unread: random.chance(0.5), hostExpiryMs: 1, shareId: undefined }),
  placeLive: ({ store, uuid, epoch: live }) => store.placeLive({ uuid, live, capture: tpmCapture(1, uuid) }),
  readLive: ({ store, uuid, epoch: live }) => store.readLive({ uuid, live }),
  lookLive: ({ store, uuid, epoch: live }) => store.lookLive({ uuid, live }),
  removeLive: ({ store, uuid, epoch: live }) => store.removeLive({ uuid, live }),
};

function pathsOf({ world, uuid }: Actor) {
  return domainPaths(world.swtpmRoot, uuid, world.nvramPath);
}

const HOST_OPERATIONS: Record<string, Operation> = {
  restore: (actor) => {
    const { world, uuid, epoch, placement, random, host } = actor;
    const linkTo = placement === 'direct' ? livePath({ root: world.share }, uuid, epoch) : undefined;
    return restoreState(host, pathsOf(actor), tpmCapture(random.int(1, 50), uuid), { linkTo });
  },
  readState: (actor) => {
    const { fs, clock } = actor.host;
    return readState({ fs, clock, settleMs: 1, settleLooks: 2 }, pathsOf(actor));
  },
  readStateNow: (actor) => readStateNow(actor.host, pathsOf(actor)),
  stamp: (actor) => orHostError('stamp', () => stampState(actor.host.fs, pathsOf(actor))),
  sweepStaging: (actor) => sweepStaging(actor.host, pathsOf(actor)),
  linkedDomains: ({ host, world }) => linkedDomains(host.fs, world.swtpmRoot),
  movedLinks: ({ host, world }) => movedLinks(host.fs, world.swtpmRoot),
  takeLinksAway: (actor) => takeLinksAway(actor.host.fs, pathsOf(actor)),
};

/** Of the command line. */
const COMMANDS: Readonly<Record<string, (actor: Actor) => readonly string[]>> = {
  'status --all-hosts': () => ['status', '--all-hosts'],
  status: () => ['status'],
  history: ({ uuid }) => ['history', uuid, '--all'],
  verify: ({ uuid }) => ['verify', uuid],
  'verify --all': () => ['verify', '--all'],
  'restore --to': ({ uuid, world, random }) => [
    'restore',
    uuid,
    '--to',
    random.pick([world.givenDirectory, `${world.givenDirectory}/new`]),
  ],
  export: ({ uuid, world }) => ['export', uuid, `${world.givenDirectory}/vm.tar.gz`],
  'purge --yes': ({ uuid }) => ['purge', uuid, '--yes'],
  forget: ({ uuid }) => ['forget', uuid],
  'resolve --keep': ({ uuid, random }) => [
    'resolve',
    uuid,
    '--keep',
    random.pick(['head', 'local', 'diverged'] as const),
  ],
  rollback: ({ uuid }) => ['rollback', uuid, '2'],
  'snapshot create': ({ uuid }) => ['snapshot', 'create', uuid, 'other'],
  'snapshot list': ({ uuid }) => ['snapshot', 'list', uuid],
  'snapshot revert': ({ uuid }) => ['snapshot', 'revert', uuid, SNAPSHOT],
  clone: ({ uuid }) => ['clone', uuid, '22222222-3333-4444-8555-666666666666'],
  'take-over --force': ({ uuid }) => ['take-over', uuid, '--force'],
  'domain prepare': ({ uuid }) => ['domain', 'prepare', uuid, '--name', 'vm'],
  'domain started': ({ uuid }) => ['domain', 'started', uuid],
  'domain stopped': ({ uuid }) => ['domain', 'stopped', uuid],
};

const PROGRAM_OPERATIONS: Record<string, Operation> = {
  ...Object.fromEntries(
    Object.entries(COMMANDS).map(([name, words]): [string, Operation] => [
      name,
      (actor) => runCommand(siteOf(actor), words(actor)),
    ]),
  ),
  'an agent and a run': (actor) => runAgent(siteOf(actor), actor.uuid),
};

function siteOf({ world, files: fs, store, random, placement }: Actor): ProgramSite {
  return { world, fs, store, random, placement };
}

export const OPERATIONS: Readonly<Record<string, Operation>> = {
  ...SHARE_OPERATIONS,
  ...HOST_OPERATIONS,
  ...PROGRAM_OPERATIONS,
};

/** What a holder does more often than anything else, and what deletes, come more often. */
export function chooseOperation(random: SeededRandom): string {
  if (random.chance(0.3)) return random.pick(['claim', 'publish', 'tidy', 'purge', 'restore', 'beat']);
  return random.pick(Object.keys(OPERATIONS));
}
