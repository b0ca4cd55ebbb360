/**
 * A VM whose owner chose the directory of its TPM (`<source type='dir'>`): it is stored and restored where it
 * says. What is not looked after is told.
 */
import { mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { domainXml } from '../../fixtures/domain-xml.js';
import { HostFixture } from '../../fixtures/host.js';
import { readStateBlob } from '../../fixtures/state-blobs.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const OTHER = '0d9f3a51-22c4-4e6b-8a77-5c1e2f3a4b5c';
const USED = Buffer.from(readStateBlob('used.permall').data);
const RESTARTED = Buffer.from(readStateBlob('used-restarted.permall').data);
const ASKS = "<mirror xmlns='urn:swtpm-mirror:domain' enabled='no'/>";

interface Called {
  readonly status: number | null;
  readonly stderr: string;
}

async function makeHosts(t: Test): Promise<{ base: string; a: HostFixture; b: HostFixture }> {
  const base = await temporaryDirectory(t);
  const share = join(base, 'share');
  const [a, b] = [
    await HostFixture.create({ name: 'kvm-a', base, share }),
    await HostFixture.create({ name: 'kvm-b', base, share }),
  ];
  t.equal((await a.run(['share', 'init', share])).status, 0);
  return { base, a, b };
}

function backend(source: string, version = '2.0', type = 'emulator'): string {
  return `<tpm model='tpm-tis'><backend type='${type}' version='${version}'>${source}</backend></tpm>`;
}

function inDirectory(path: string, version?: string): string {
  return backend(`<source type='dir' path='${path}'/>`, version);
}

async function hook(
  host: HostFixture,
  operation: string,
  devices: string,
  uuid = UUID,
  metadata = '',
): Promise<Called> {
  const input = domainXml({ uuid, name: uuid === UUID ? 'guest' : 'other', devices, metadata });
  return await host.run(['hook', 'guest', operation, 'begin', '-'], { input });
}

async function put(directory: string, data: Buffer): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'tpm2-00.permall'), data);
}

async function live(host: HostFixture, devices: string, ...operations: readonly string[]): Promise<void> {
  for (const operation of operations) {
    const { status, stderr } = await hook(host, operation, devices);
    if (status !== 0) throw new Error(`${operation}: ${stderr}`);
  }
}

const SPELLINGS: readonly (readonly [what: string, path: (root: string) => string])[] = [
  ['as it is', (root) => `${root}/vm/tpm`],
  ['with a slash at its end', (root) => `${root}/vm/tpm/`],
  ['with doubled slashes', (root) => `/${root}//vm///tpm`],
  ['with dots', (root) => `${root}/./vm/../vm/./tpm/.`],
  ['by a link', (root) => `${root}/link/tpm`],
];

for (const agent of [true, false]) {
  const how = agent ? 'with an agent' : 'without an agent';
  for (const [what, path] of SPELLINGS) {
    t.test(
      `G4: state in a chosen directory, ${what}, is restored there on another host, ${how}`,
      async (t) => {
        const { base, a, b } = await makeHosts(t);
        const devices = (host: HostFixture): string => inDirectory(path(join(base, `disk-${host.name}`)));
        const place = (host: HostFixture): string => join(base, `disk-${host.name}/vm/tpm`);
        for (const host of [a, b]) {
          await mkdir(join(base, `disk-${host.name}/vm`), { recursive: true });
          await symlink('vm', join(base, `disk-${host.name}/link`));
          if (agent) await host.startAgent(t);
        }
        await live(a, devices(a), 'prepare');
        await put(place(a), USED);
        await live(a, devices(a), 'started');
        await writeFile(join(place(a), 'tpm2-00.permall'), RESTARTED);
        if (agent) {
          await waitUntil('the change to be stored', 20_000, async () => {
            const { domains } = (await a.runJson(['status', UUID])) as {
              domains: { head: number; pending: string }[];
            };
            return domains[0] && domains[0].head > 2 && domains[0].pending === 'none' ? true : undefined;
          });
        }
        await live(a, devices(a), 'release');
        await live(b, devices(b), 'prepare');
        t.strictSame(await readFile(join(place(b), 'tpm2-00.permall')), RESTARTED);
        t.strictSame(await readdir(b.swtpmDirectory), [], "nothing in libvirt's own place");
        t.strictSame((await readdir(dirname(place(b)))).sort(), ['tpm'], 'and nothing left beside it');
      },
    );
  }
}

t.test(
  "libvirt's own place in another spelling is that place, and moves to a chosen one and back",
  async (t) => {
    const { base, a } = await makeHosts(t);
    const usual = inDirectory(`${a.swtpmDirectory}//${UUID}/./tpm2/`);
    await live(a, backend(''), 'prepare');
    await put(a.tpmDirectory(UUID), USED);
    await live(a, backend(''), 'started', 'release');
    await rm(join(a.swtpmDirectory, UUID), { recursive: true });
    await live(a, usual, 'prepare', 'started', 'release');
    t.strictSame(await readFile(join(a.tpmDirectory(UUID), 'tpm2-00.permall')), USED);
    const chosen = inDirectory(join(base, 'chosen'));
    await live(a, chosen, 'prepare', 'started', 'release');
    t.strictSame(await readFile(join(base, 'chosen/tpm2-00.permall')), USED);
    await rm(join(a.swtpmDirectory, UUID), { recursive: true });
    await live(a, backend(''), 'prepare');
    t.strictSame(await readFile(join(a.tpmDirectory(UUID), 'tpm2-00.permall')), USED);
  },
);

t.test('a TPM 1.2 in a chosen directory is stored as one', async (t) => {
  const { base, a, b } = await makeHosts(t);
  const devices = (host: HostFixture): string => inDirectory(join(base, host.name, 'tpm'), '1.2');
  const data = Buffer.from(readStateBlob('tpm12.permall').data);
  await live(a, devices(a), 'prepare');
  await mkdir(join(base, 'kvm-a/tpm'));
  await writeFile(join(base, 'kvm-a/tpm/tpm-00.permall'), data);
  await live(a, devices(a), 'started', 'release');
  await live(b, devices(b), 'prepare');
  t.strictSame(await readFile(join(base, 'kvm-b/tpm/tpm-00.permall')), data);
});

t.test('G8: a place that cannot be worked in refuses the start, and says what to do', async (t) => {
  const { base, a } = await makeHosts(t);
  await a.startAgent(t);
  await live(a, inDirectory(join(base, 'mine')), 'prepare');
  for (const [path, why] of [
    [join(a.share, 'tpm'), /it lies in the share/],
    [join(a.stateDirectory, 'tpm'), /it lies in state_dir/],
    [join(a.swtpmDirectory, UUID, 'tpm2'), /TPMs of other domains/],
    [join(base, 'mine'), /"guest" .* has its TPM there/],
    [join(base, 'mine/below'), /"guest" .* has its TPM there/],
  ] as const) {
    const refused = await hook(a, 'prepare', inDirectory(path), OTHER);
    t.match(refused, { status: 3, stderr: why }, path);
    t.match(refused.stderr, /TPM_PLACE_UNFIT: [^\n]+\n {2}give the TPM a directory of its own/);
  }
  const shared = join(base, 'shared');
  await put(shared, USED);
  await writeFile(join(shared, 'disk.qcow2'), 'a disk');
  await live(a, inDirectory(join(base, 'mine')), 'release').catch(() => undefined);
  t.equal((await hook(a, 'prepare', inDirectory(shared), OTHER)).status, 0, 'what lies there is adopted');
  await hook(a, 'started', inDirectory(shared), OTHER);
  await hook(a, 'release', inDirectory(shared), OTHER);
  await rm(join(shared, 'tpm2-00.permall'));
  t.match(await hook(a, 'prepare', inDirectory(shared), OTHER), {
    status: 5,
    stderr: /"disk.qcow2" lies in it/,
  });
  t.equal(await readFile(join(shared, 'disk.qcow2'), 'utf8'), 'a disk', 'and nothing there was touched');
});

t.test(
  'what is not looked after starts, and is told in status, doctor and the log until it stops',
  async (t) => {
    const { a } = await makeHosts(t);
    const agent = await a.startAgent(t);
    for (const [devices, metadata, reason, askedFor] of [
      [backend("<source type='file' path='/srv/tpm.img'/>"), '', /one file/, false],
      [backend("<source type='unix' path='/run/tpm'/>", '2.0', 'external'), '', /external/, false],
      [backend('', '2.0', 'passthrough'), '', /passthrough/, false],
      [backend(''), ASKS, /enabled="no"/, true],
    ] as const) {
      for (const operation of ['prepare', 'started']) {
        t.equal((await hook(a, operation, devices, UUID, metadata)).status, 0, String(reason));
      }
      const status = await a.runJson(['status']);
      t.match(status, { domains: [], unprotected: [{ uuid: UUID, name: 'guest', reason, askedFor }] });
      const codes = (status as { attention: { code: string }[] }).attention.map(({ code }) => code);
      t.equal(codes.includes('UNPROTECTED'), !askedFor, 'what was asked for is no trouble');
      t.match((await a.run(['status'])).stdout, /not stored: the TPM of guest/);
      t.match((await a.run(['doctor'])).stdout, /not stored: the TPM of guest/);
      t.equal((await hook(a, 'release', devices, UUID, metadata)).status, 0);
      t.match(await a.runJson(['status']), { unprotected: [], attention: [] });
    }
    t.match(agent.log, /"code":"UNPROTECTED"/);
  },
);
