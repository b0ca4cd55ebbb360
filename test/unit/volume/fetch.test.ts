import t from 'tap';
import { encodeBundle, decodeBundle } from '../../../src/bundle/archive.js';
import {
  contentPrefixes,
  formatGenerationName,
  parseGenerationName,
  type GenerationName,
} from '../../../src/model/generation-name.js';
import { contentDigest, sha256, tpmDigest } from '../../../src/model/hash.js';
import { readWhole } from '../../../src/volume/files.js';
import { NOTE, numberOf, OTHER_UUID, tpmCapture, UUID } from '../../fixtures/tpm-captures.js';
import { SHARE, VolumeHosts } from '../../fixtures/volume-hosts.js';
import { fetchHead, hold, publish, read } from '../../fixtures/volume-steps.js';
import { injectAt } from '../../sim/injection.js';

const GEN = `${SHARE}/volumes/${UUID}/gen`;

interface Planted {
  readonly hosts: VolumeHosts;
  /** Paths of the generations in slots 2, 3 and 4, which hold the captures 1, 2 and 3. */
  readonly paths: readonly [string, string, string];
}

async function threeGenerations(): Promise<Planted> {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  const held = await hold(store);
  for (const number of [1, 2, 3]) await publish(held, number);
  await publish(await hold(store, 'free', OTHER_UUID), 3);
  const [first = '', second = '', third = ''] = (await hosts.files.readdir('test:readdir', GEN)).sort();
  return { hosts, paths: [`${GEN}/${first}`, `${GEN}/${second}`, `${GEN}/${third}`] };
}

async function rewrite(
  hosts: VolumeHosts,
  path: string,
  change: (data: Uint8Array) => Uint8Array,
): Promise<void> {
  await hosts.plant(path, change(await readWhole(hosts.files, 'test', path, 1 << 20)));
}

/** Everything that can happen to the file of the head without anybody's error. */
const DAMAGE: readonly (readonly [string, (planted: Planted) => Promise<void>])[] = [
  ['is missing', ({ hosts, paths }) => hosts.files.unlink('test:unlink', paths[2])],
  ['is empty', ({ hosts, paths }) => rewrite(hosts, paths[2], () => new Uint8Array(0))],
  ['is cut short', ({ hosts, paths }) => rewrite(hosts, paths[2], (data) => data.subarray(0, -9))],
  ['ends in zeros', ({ hosts, paths }) => rewrite(hosts, paths[2], (data) => data.fill(0, 700))],
  [
    'has a flipped bit',
    ({ hosts, paths }) => rewrite(hosts, paths[2], (data) => data.fill((data[600] ?? 0) ^ 1, 600, 601)),
  ],
  ['is another generation of the volume', ({ hosts, paths }) => swap(hosts, paths[1], paths[2])],
  ['is a generation of another volume', plantForeign],
  ['is a directory', plantDirectory],
  ['is a link to another generation', (planted) => plantLink(planted, planted.paths[1])],
  ['is a link out of the share', (planted) => plantLink(planted, '/etc/passwd')],
  ['holds no valid state', plantInvalidState],
  ['has another TPM than its name tells', plantMisnamedTpm],
];

async function swap({ files }: VolumeHosts, one: string, other: string): Promise<void> {
  await files.rename('test:rename', one, '/aside');
  await files.rename('test:rename', other, one);
  await files.rename('test:rename', '/aside', other);
}

async function plantForeign({ hosts, paths }: Planted): Promise<void> {
  const directory = GEN.replace(UUID, OTHER_UUID);
  const [name = ''] = await hosts.files.readdir('test:readdir', directory);
  await hosts.files.rename('test:rename', `${directory}/${name}`, paths[2]);
}

async function plantDirectory({ hosts: { files }, paths }: Planted): Promise<void> {
  await files.unlink('test:unlink', paths[2]);
  await files.mkdir('test:mkdir', paths[2], 0o700);
}

async function plantLink({ hosts: { files }, paths }: Planted, target: string): Promise<void> {
  await files.unlink('test:unlink', paths[2]);
  await files.symlink('test:symlink', target, paths[2]);
}

/** An archive that is whole, with what no TPM can start from. */
async function plantInvalidState({ hosts, paths }: Planted): Promise<void> {
  const { manifest, capture } = await decodeBundle(await readWhole(hosts.files, 'test', paths[2], 1 << 20));
  const data = new TextEncoder().encode('no state');
  const empty = capture.files.map((file) => ({ ...file, data, sha256: sha256(data) }));
  const forged = { ...capture, files: empty, digest: contentDigest(empty) };
  const described = manifest.files.map((file) => ({ ...file, size: data.length, sha256: sha256(data) }));
  const archive = await encodeBundle({ ...manifest, digest: forged.digest, files: described }, forged);
  const content = contentPrefixes({ digest: forged.digest, tpmDigest: tpmDigest(empty) });
  const path = `${GEN}/${formatGenerationName({ ...nameAt(paths[2]), ...content })}`;
  await hosts.plant(path, archive);
  await pointHeadAt(hosts, path);
}

/** An archive that is whole, and whose name tells another TPM than it has. */
async function plantMisnamedTpm({ hosts, paths }: Planted): Promise<void> {
  const name = { ...nameAt(paths[2]), tpmDigestPrefix: '0'.repeat(16) };
  const path = `${GEN}/${formatGenerationName(name)}`;
  await hosts.files.rename('test:rename', paths[2], path);
  await pointHeadAt(hosts, path);
}

function nameAt(path: string): GenerationName {
  const name = parseGenerationName(path.slice(GEN.length + 1));
  if (!name) throw new Error(`${path} has no name of a generation`);
  return name;
}

async function pointHeadAt({ files }: VolumeHosts, path: string): Promise<void> {
  const slot = `${GEN}/../log/00000004`;
  await files.unlink('test:unlink', slot);
  await files.symlink('test:symlink', `../gen/${path.slice(GEN.length + 1)}`, slot);
}

for (const [damage, inflict] of DAMAGE) {
  t.test(`G1 G6: a generation that ${damage} is never handed out, and is named`, async (t) => {
    const planted = await threeGenerations();
    await inflict(planted);
    const { store } = planted.hosts.start('kvm-b');
    await t.rejects(fetchHead(store), { code: /^(GENERATION_DAMAGED|STATE_INVALID)$/, exitStatus: 5 });
    t.match(await read(store), { head: { kind: 'damaged', name: { slot: 4 } } });
    const { generation, passedOver } = await store.fetch({ uuid: UUID, slot: 'head', fallBack: true });
    t.ok([1, 2].includes(numberOf(generation.capture)));
    t.match(passedOver[0], { name: { slot: 4 } });
    const { damaged } = await store.verify({ uuid: UUID });
    t.match(damaged.at(-1), { name: { slot: 4 } }, 'and verify finds it');
    t.match((await store.history({ uuid: UUID }))[0], { slot: 4, head: true, damage: { next: /\w/ } });
  });
}

t.test('when no generation is whole, none is made up', async (t) => {
  const { hosts, paths } = await threeGenerations();
  for (const path of paths) await rewrite(hosts, path, (data) => data.subarray(0, 100));
  const fetched = hosts.start('kvm-b').store.fetch({ uuid: UUID, slot: 'head', fallBack: true });
  await t.rejects(fetched, { code: 'GENERATION_DAMAGED', message: /3 tried/ });
});

t.test('a share that fails while a generation is read is not a damaged generation', async (t) => {
  const { hosts } = await threeGenerations();
  for (const code of ['EIO', 'EACCES', 'ETIMEDOUT']) {
    const inject = injectAt('fetch:read', { kind: 'fail', code, executed: false });
    const fetched = hosts
      .start('kvm-b', { inject })
      .store.fetch({ uuid: UUID, slot: 'head', fallBack: true });
    await t.rejects(fetched, { code: /^SHARE_/ }, code);
  }
});

t.test('a file that was replaced while it was read is opened again, a few times', async (t) => {
  const { hosts } = await threeGenerations();
  const stale = { kind: 'fail', code: 'ESTALE', executed: false } as const;
  const once = hosts.start('kvm-b', { inject: injectAt('fetch:read', stale, 0, 2) }).store;
  t.equal(numberOf((await fetchHead(once)).capture), 3);
  const always = hosts.start('kvm-b', { inject: injectAt('fetch:read', stale, 0, 99) }).store;
  await t.rejects(fetchHead(always), { code: 'SHARE_UNAVAILABLE' });
});

t.test('a generation under a name of version 0.1.0, which tells no TPM, is read as ever', async (t) => {
  const { hosts, paths } = await threeGenerations();
  const { tpmDigestPrefix, ...name } = nameAt(paths[2]);
  t.type(tpmDigestPrefix, 'string', 'this version tells it');
  const path = `${GEN}/${formatGenerationName(name)}`;
  await hosts.files.rename('test:rename', paths[2], path);
  await pointHeadAt(hosts, path);
  const generation = await fetchHead(hosts.start('kvm-b').store);
  t.equal(numberOf(generation.capture), 3);
  t.strictSame(generation.name, name);
});

t.test('a manifest that says another TPM than the state is, or none, is told as the state is', async (t) => {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  const held = await hold(store);
  for (const claimed of [undefined, 'f'.repeat(64)]) {
    // Whoever can write to the share can write any manifest.
    const capture = { ...tpmCapture(1), identity: claimed };
    const { uuid, epoch, next: slot, parent } = held;
    await store.publish({ uuid, epoch, slot, parent, capture, note: NOTE });
    held.next++;
    const { manifest, capture: read } = await fetchHead(store);
    t.match(read.identity, /^[0-9a-f]{64}$/);
    t.not(read.identity, claimed);
    t.equal(manifest.identity, read.identity);
    t.ok(await encodeBundle(manifest, read), 'it can be written again');
  }
});
