/**
 * A start on a host to which a migration was announced, as libvirt's hooks tell it, without libvirt: whether it is that migration, or an ordinary
 * start that follows an offline migration, or one that was refused.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ownUuid } from '../../fixtures/domain-uuid.js';
import { domainXml } from '../../fixtures/domain-xml.js';
import type { HostFixture } from '../../fixtures/host.js';
import { Site } from '../../fixtures/site.js';
import { readStateBlob } from '../../fixtures/state-blobs.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const UUID = ownUuid('6b0c2d4e');
const PERMALL = 'tpm2-00.permall';
const TIMEOUT_MS = 40_000;
const OLDER = Buffer.from(readStateBlob('used.permall').data);
const NEWER = Buffer.from(readStateBlob('used-restarted.permall').data);

interface Line {
  readonly kind: string;
  readonly host: string;
  readonly reason: string;
  readonly epoch: number;
  readonly generation: number;
}

interface Pair {
  readonly site: Site;
  readonly a: HostFixture;
  readonly b: HostFixture;
}

async function makePair(t: Test): Promise<Pair> {
  const site = await Site.create(t);
  return { site, a: await site.host('kvm-a'), b: await site.host('kvm-b') };
}

async function hook(host: HostFixture, operation: string, metadata = ''): ReturnType<HostFixture['run']> {
  const input = domainXml({ uuid: UUID, name: 'guest', metadata });
  return await host.run(['hook', 'guest', operation, 'begin', '-'], { input });
}

async function mustHook(t: Test, host: HostFixture, ...operations: readonly string[]): Promise<void> {
  for (const operation of operations) {
    const { status, stderr } = await hook(host, operation);
    t.equal(status, 0, `${host.name} ${operation}: ${stderr}`);
  }
}

async function put(host: HostFixture, data: Buffer): Promise<void> {
  await mkdir(host.tpmDirectory(UUID), { recursive: true });
  await writeFile(join(host.tpmDirectory(UUID), PERMALL), data);
}

async function stateOf(host: HostFixture): Promise<Buffer | undefined> {
  return await readFile(join(host.tpmDirectory(UUID), PERMALL)).catch(() => undefined);
}

async function claimsOf(host: HostFixture): Promise<Line[]> {
  const lines = (await host.runJson(['history', UUID, '--all'])) as Line[];
  return lines.filter(({ kind }) => kind === 'claim');
}

/** The domain runs on the host with this state, under the host's claim. */
async function runOn(t: Test, host: HostFixture, data: Buffer): Promise<void> {
  await mustHook(t, host, 'prepare');
  await put(host, data);
  await mustHook(t, host, 'started');
}

/** As the source's agent leaves it in the domain's live metadata. */
async function runClaimIn({ site }: Pair, changed: { token?: string; uuid?: string } = {}): Promise<string> {
  const entries = await site.volume(UUID).entries();
  const claim = entries.findLast((entry) => entry.kind === 'claim');
  if (!claim) throw new Error('expected a claim');
  const { uuid, token } = { uuid: UUID, token: claim.token, ...changed };
  return `<m:run xmlns:m="urn:swtpm-mirror:run" uuid="${uuid}" host="${claim.host}" epoch="${String(claim.slot)}" token="${token}"/>`;
}

/** Longer than `timing.host_expiry`, with no agent that beats. */
async function expire(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 2_600));
}

const RELEASED: { name: string; local: boolean; agent: boolean; announce: 'once' | 'twice' | 'long ago' }[] =
  [
    { name: 'with nothing here', local: false, agent: false, announce: 'once' },
    { name: 'with an older state here', local: true, agent: false, announce: 'once' },
    { name: 'with an older state here, by the agent', local: true, agent: true, announce: 'once' },
    { name: 'announced twice', local: false, agent: true, announce: 'twice' },
    { name: 'announced long ago', local: true, agent: false, announce: 'long ago' },
  ];

for (const { name, local, agent, announce } of RELEASED) {
  t.test(`G8: after an offline migration an ordinary start restores the head, ${name}`, async (t) => {
    const pair = await makePair(t);
    const { a, b } = pair;
    if (local) {
      await runOn(t, b, OLDER);
      await mustHook(t, b, 'release');
    }
    await runOn(t, a, NEWER);
    await mustHook(t, a, 'release');
    if (agent) await b.startAgent(t);
    await mustHook(t, b, 'migrate', ...(announce === 'twice' ? ['migrate'] : []));
    if (announce === 'long ago') {
      await writeFile(join(b.runDirectory, `incoming-${UUID}`), String(Date.now() - 3_600_000));
    }
    await mustHook(t, b, 'prepare');
    t.strictSame(await stateOf(b), NEWER);
    const [newest] = await claimsOf(b);
    t.match(newest, { host: 'kvm-b', reason: 'start' });
    await mustHook(t, b, 'started', 'release');
    await mustHook(t, a, 'prepare');
    t.strictSame(await stateOf(a), NEWER, 'and it can go back');
  });
}

t.test('G8: an announcement revives no tombstone', async (t) => {
  const { a, b } = await makePair(t);
  await runOn(t, a, NEWER);
  await mustHook(t, a, 'release');
  await a.runJson(['forget', UUID]);
  await mustHook(t, b, 'migrate');
  const { status, stderr } = await hook(b, 'prepare');
  t.equal(status, 3);
  t.match(stderr, /TOMBSTONED/);
  t.equal(await stateOf(b), undefined);
});

t.test('a migration is refused while the share is away, and its guest runs on', async (t) => {
  const { site, a, b } = await makePair(t);
  await b.configure({ timing: { start_deadline: '3s' } });
  await runOn(t, a, NEWER);
  await mustHook(t, b, 'migrate');
  await rename(site.share, `${site.share}-away`);
  const { status, stderr } = await hook(b, 'prepare');
  await rename(`${site.share}-away`, site.share);
  t.equal(status, 4, stderr);
  t.equal(await stateOf(b), undefined);
  t.ok((await claimsOf(a)).every(({ host }) => host === 'kvm-a'));
});

t.test('a migration from the host that holds the volume restores nothing and claims nothing', async (t) => {
  const { a, b } = await makePair(t);
  await a.startAgent(t);
  await runOn(t, a, NEWER);
  const before = await claimsOf(b);
  await mustHook(t, b, 'migrate', 'prepare', 'started');
  t.equal(await stateOf(b), undefined);
  t.strictSame(await claimsOf(b), before);
});

t.test(
  'G8: its holder is silent: a guest without an agent comes, or the host is dead; the head is there for either',
  async (t) => {
    const { a, b } = await makePair(t);
    await runOn(t, a, OLDER);
    await mustHook(t, a, 'release', 'prepare', 'started');
    // Nobody is there to store what its guest writes now.
    await put(a, NEWER);
    const before = await claimsOf(b);
    await expire();
    await mustHook(t, b, 'migrate', 'prepare');
    t.strictSame(await stateOf(b), OLDER, 'what the share has');
    t.strictSame(await claimsOf(b), before, 'and nothing is claimed');
    await mustHook(t, b, 'started', 'release');
    await mustHook(t, b, 'prepare');
    t.match((await claimsOf(b))[0], { host: 'kvm-b', reason: 'take-over' }, 'the announcement is used up');
  },
);

/** The state of the domain comes to the host, and it runs there. */
async function comeTo(t: Test, host: HostFixture, metadata: string): Promise<void> {
  await mustHook(t, host, 'migrate');
  const { status, stderr } = await hook(host, 'prepare', metadata);
  t.equal(status, 0, stderr);
  await mustHook(t, host, 'started');
  await put(host, NEWER);
  await host.runJson(['domain', 'started', UUID]);
}

t.test(
  'G4: the guest of a source that died on the way is believed by the claim that it carries',
  async (t) => {
    const pair = await makePair(t);
    const { site, a, b } = pair;
    await runOn(t, a, OLDER);
    await mustHook(t, a, 'release');
    await runOn(t, a, OLDER);
    const carried = await runClaimIn(pair);
    await expire();
    await b.startAgent(t);
    await comeTo(t, b, carried);
    await site.volume(UUID).waitForHead(NEWER);
    t.match((await claimsOf(b))[0], { host: 'kvm-b', reason: 'migration' });
  },
);

for (const [name, changed] of [
  ['of another token', { token: 'abcdabcdabcdabcd' }],
  ['of another domain', { uuid: '0d9f3a51-22c4-4e6b-8a77-5c1e2f3a4b5c' }],
  ['of an earlier run', 'earlier'],
] as const) {
  t.test(`G4: a guest with a claim ${name} never becomes the head by itself`, async (t) => {
    const pair = await makePair(t);
    const { site, a, b } = pair;
    await runOn(t, a, OLDER);
    const earlier = await runClaimIn(pair);
    await mustHook(t, a, 'release');
    await runOn(t, a, OLDER);
    const carried = changed === 'earlier' ? earlier : await runClaimIn(pair, changed);
    await expire();
    await b.configure({ timing: { stop_deadline: '3s' } });
    await b.startAgent(t);
    await comeTo(t, b, carried);
    await waitUntil('it to be told', TIMEOUT_MS, async () => {
      const { domains } = (await b.runJson(['status'])) as {
        domains: { attention: { code: string; next: string }[] }[];
      };
      const told = domains[0]?.attention.find(({ code }) => code === 'ARRIVAL_UNPROVED');
      return told ? (t.match(told.next, /resolve .* --keep diverged/), true) : undefined;
    });
    const volume = site.volume(UUID);
    t.strictSame(await volume.permallOf(await volume.expectHead()), OLDER, 'the head is as it was');
    await waitUntil('its state to be kept', TIMEOUT_MS, async () => {
      const lines = (await b.runJson(['history', UUID, '--all'])) as Line[];
      return lines.some(({ kind }) => kind === 'diverged') ? true : undefined;
    });
  });
}
