/**
 * A VM's firmware variables beside its TPM, through libvirt's hook as libvirt calls it: what cannot be read, of another owner, or of another
 * firmware is never in the TPM's way.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import {
  chown,
  lstat,
  mkdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { HostFixture } from '../../fixtures/host.js';
import { runChecked } from '../../fixtures/process.js';
import { Site } from '../../fixtures/site.js';

import { waitUntil } from '../../fixtures/wait-until.js';

const UUID = '5a5a0000-1111-4222-8333-444455556666';
const BLOBS = new URL('../../fixtures/blobs/', import.meta.url);
const OLDER = readFileSync(new URL('used.permall', BLOBS));
/** The same TPM later. */
const NEWER = readFileSync(new URL('used-restarted.permall', BLOBS));
const TSS = { uid: 101, gid: 102 };
const EFI = "<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type></os>";

/** A host as libvirt works on it, with its own directory of NVRAM. */
class LibvirtHost {
  readonly fixture: HostFixture;
  readonly nvram: string;

  private constructor(fixture: HostFixture) {
    this.fixture = fixture;
    this.nvram = join(fixture.stateDirectory, '../nvram');
  }

  static async create(site: Site, name: string, settings: Record<string, string> = {}): Promise<LibvirtHost> {
    const host = new LibvirtHost(await site.host(name));
    await mkdir(host.nvram);
    await host.fixture.configure({ libvirt: { nvram: true, nvram_dir: host.nvram }, nvram: settings });
    return host;
  }

  get vars(): string {
    return join(this.nvram, 'vm_VARS.fd');
  }

  get permall(): string {
    return join(this.fixture.tpmDirectory(UUID), 'tpm2-00.permall');
  }

  async hook(operation: string, os = EFI): Promise<{ status: number | null; stderr: string }> {
    const devices = "<devices><tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices>";
    const xml = `<domain type='kvm'><name>vm</name><uuid>${UUID}</uuid>${os}${devices}</domain>`;
    return await this.fixture.run(['hook', 'vm', operation, 'begin', '-'], { input: xml });
  }

  /** @throws Error when the hook refuses */
  async must(operation: string, os = EFI): Promise<void> {
    const { status, stderr } = await this.hook(operation, os);
    if (status !== 0) throw new Error(`${operation}: ${String(status)}: ${stderr}`);
  }

  async write(state: Buffer): Promise<void> {
    await mkdir(this.fixture.tpmDirectory(UUID), { recursive: true });
    await writeFile(this.permall, state);
  }

  async end(os = EFI): Promise<void> {
    await this.must('stopped', os);
    await this.must('release', os);
  }

  async status(): Promise<{
    parts: { state: string }[];
    attention: { code: string; message: string; next: string }[];
    head: number;
    lagMs: number;
  }> {
    const { domains } = (await this.fixture.runJson(['status'])) as { domains: never[] };
    const [domain] = domains;
    return domain as never;
  }

  async history(): Promise<{ head: boolean; unread?: unknown[]; pins: string[]; generation: number }[]> {
    return (await this.fixture.runJson(['history', UUID])) as never;
  }
}

const UNFIT: readonly (readonly [string, (path: string) => Promise<unknown>])[] = [
  [
    'a link to what it was',
    async (path) => {
      await rename(path, `${path}.moved`);
      await symlink(`${path}.moved`, path);
    },
  ],
  [
    'a link to nothing',
    async (path) => {
      await rm(path);
      await symlink('/nowhere', path);
    },
  ],
  [
    'a directory',
    async (path) => {
      await rm(path);
      await mkdir(path);
    },
  ],
  [
    'a FIFO',
    async (path) => {
      await rm(path);
      execFileSync('mkfifo', [path]);
    },
  ],
  [
    'a device without a medium',
    async (path) => {
      await rm(path);
      execFileSync('mknod', [path, 'b', '7', '250']);
    },
  ],
  ['far too large', (path) => truncate(path, 2 ** 41)],
  ['gone', (path) => rm(path)],
  ['empty', (path) => truncate(path, 0)],
];

for (const [what, spoil] of UNFIT.filter((_, at) => at % 3 === 0)) {
  t.test(`G4, G7: a TPM's last change is stored and kept, though the NVRAM is ${what}`, async (t) => {
    const site = await Site.create(t);
    const host = await LibvirtHost.create(site, 'kvm-a');
    await host.must('prepare');
    await host.write(OLDER);
    await writeFile(host.vars, Buffer.alloc(540_672, 'v'));
    await host.must('started');
    await host.end();
    await host.must('prepare');
    await host.must('started');
    await spoil(host.vars);
    await host.write(NEWER);
    await host.end();
    const [told] = (await host.status()).parts;
    t.equal(told?.state, 'stale', 'status tells that the NVRAM is an earlier one');
    t.equal((await host.status()).attention[0]?.code, 'PART_UNREADABLE');
    t.match((await host.history()).find(({ head }) => head)?.unread, [{ role: 'nvram', state: 'stale' }]);

    await host.must('prepare');
    t.strictSame(await readFile(host.permall), NEWER, 'the newest TPM state is what it starts with here');
    await host.end();
    const other = await LibvirtHost.create(site, 'kvm-b');
    await other.must('prepare');
    t.strictSame(await readFile(other.permall), NEWER, 'and on another host');
    t.strictSame(await readFile(other.vars), Buffer.alloc(540_672, 'v'), 'with the NVRAM that was read last');
  });
}

t.test('G4: a TPM that ran before the product came is adopted, whatever its NVRAM is', async (t) => {
  for (const [what, spoil] of UNFIT.filter((_, at) => at % 3 === 1)) {
    const site = await Site.create(t);
    const host = await LibvirtHost.create(site, 'kvm-a');
    await writeFile(host.vars, 'variables');
    await spoil(host.vars);
    await host.write(OLDER);
    await host.must('prepare');
    await host.must('started');
    await host.end();
    t.strictSame(await readFile(host.permall), OLDER, what);
    t.ok((await host.status()).head > 0, `${what}: it is stored`);
  }
});

t.test(
  'G4: while the NVRAM is unfit or never rests, an agent publishes the TPM at its own pace',
  async (t) => {
    const site = await Site.create(t);
    const host = await LibvirtHost.create(site, 'kvm-a');
    await host.fixture.startAgent(t);
    await host.must('prepare');
    await host.write(OLDER);
    await writeFile(host.vars, Buffer.alloc(131_072, 'v'));
    await host.must('started');
    const volume = site.volume(UUID);
    await waitUntil('the first generation', 10_000, () => isHead(host, OLDER, volume));
    let version = 0;
    const writer = setInterval(() => {
      execFileSync('dd', [
        'if=/dev/urandom',
        `of=${host.vars}`,
        'bs=64',
        'count=1',
        'conv=notrunc',
        'status=none',
      ]);
      version++;
    }, 30);
    t.teardown(() => {
      clearInterval(writer);
    });
    await waitUntil('the writer', 5_000, () => Promise.resolve(version > 2));
    await host.write(NEWER);
    await waitUntil('the change, while the NVRAM is written to', 5_000, () => isHead(host, NEWER, volume));
    clearInterval(writer);
    await waitUntil('the NVRAM to join', 15_000, async () => {
      const { parts } = await host.status();
      return parts[0]?.state === 'stored' && (await nvramOfHead(host)).equals(await readFile(host.vars));
    });
    await rename(host.vars, `${host.vars}.moved`);
    await symlink(`${host.vars}.moved`, host.vars);
    await host.write(OLDER);
    await waitUntil('the change, while the NVRAM is a link', 5_000, () => isHead(host, OLDER, volume));
    const { head } = await host.status();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    t.equal((await host.status()).head, head, 'and nothing is published again and again');
    const metrics = await host.fixture.request({ path: '/metrics' });
    t.match(metrics.body, /domain_part_unread\{.*role="nvram",state="stale"\} 1/);
  },
);

async function isHead(
  host: LibvirtHost,
  state: Buffer,
  volume: ReturnType<Site['volume']>,
): Promise<boolean> {
  const name = await volume.head();
  return name !== undefined && (await volume.permallOf(name)).equals(state) && host.vars !== '';
}

async function nvramOfHead(host: LibvirtHost): Promise<Buffer> {
  const directory = join(host.fixture.stateDirectory, `../restored-${String(Math.random())}`);
  await host.fixture.runJson(['restore', UUID, '--to', directory]);
  return await readFile(join(directory, 'nvram/nvram.fd'));
}

t.test('restored files belong to whom they belonged, or to the directory\u2019s owner', async (t) => {
  const site = await Site.create(t);
  const host = await LibvirtHost.create(site, 'kvm-a');
  await host.must('prepare');
  await host.write(OLDER);
  await writeFile(host.vars, Buffer.alloc(540_672, 'v'), { mode: 0o640 });
  const tss = ownerOf('tss') ?? TSS;
  await chown(host.permall, tss.uid, tss.gid);
  await chown(host.fixture.tpmDirectory(UUID), tss.uid, tss.gid);
  await chown(host.vars, tss.uid, tss.gid);
  await host.must('started');
  await host.end();
  const other = await LibvirtHost.create(site, 'kvm-b');
  await other.must('prepare');
  await expectOwner(t, other, tss, 0o640);
  await other.end();

  const third = await LibvirtHost.create(site, 'kvm-c');
  await chown(third.nvram, 1234, 1235);
  await third.must('prepare');
  const { uid, gid } = await stat(third.vars);
  t.strictSame(
    { uid, gid },
    { uid: 1234, gid: 1235 },
    'what lies in somebody\u2019s own directory is theirs',
  );
});

function ownerOf(user: string): { uid: number; gid: number } | undefined {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((one) => one.startsWith(`${user}:`));
  const [, , uid, gid] = line?.split(':') ?? [];
  return uid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) };
}

async function expectOwner(
  t: Test,
  host: LibvirtHost,
  owner: { uid: number; gid: number },
  mode: number,
): Promise<void> {
  for (const path of [host.vars, host.permall, host.fixture.tpmDirectory(UUID)]) {
    const { uid, gid } = await lstat(path);
    t.strictSame({ uid, gid }, owner, path);
  }
  t.equal((await lstat(host.vars)).mode & 0o777, mode);
}

const QCOW2 = Buffer.concat([
  Buffer.from('514649fb00000003', 'hex'),
  Buffer.alloc(16),
  Buffer.from('0000000000084000', 'hex'),
  Buffer.alloc(480),
]);
const SMALL = Buffer.alloc(131_072, 's');
const LARGE = Buffer.alloc(540_672, 'l');

/** What was stored, what the XML asks for there, the template's content; and whether the stored one is put in place. */
const MISFITS: readonly (readonly [string, Buffer, string, string, Buffer, boolean])[] = [
  ['raw for qcow2', LARGE, 'qcow2', 'vm_VARS.qcow2', QCOW2, false],
  ['qcow2 for raw', QCOW2, 'raw', 'vm_VARS.fd', LARGE, false],
  ['qcow2 for qcow2', QCOW2, 'qcow2', 'vm_VARS.qcow2', QCOW2, true],
  ['2M firmware for 4M', SMALL, 'raw', 'vm_VARS.fd', LARGE, false],
  ['4M firmware for 2M', LARGE, 'raw', 'vm_VARS.fd', SMALL, false],
  ['4M firmware for 4M', LARGE, 'raw', 'vm_VARS.fd', LARGE, true],
  ['a template that is gone', LARGE, 'raw', 'vm_VARS.fd', Buffer.alloc(0), true],
];

for (const [what, stored, format, name, template, isPlaced] of MISFITS) {
  t.test(`stored NVRAM and the firmware of another host: ${what}`, async (t) => {
    const site = await Site.create(t);
    const host = await LibvirtHost.create(site, 'kvm-a');
    const first = nvramXml(host, stored === QCOW2 ? 'qcow2' : 'raw', 'vm_VARS.fd', '/none');
    await host.must('prepare', first);
    await host.write(OLDER);
    await writeFile(host.vars, stored);
    await host.must('started', first);
    await host.end(first);
    for (const mismatch of ['refuse', 'fresh']) {
      const other = await LibvirtHost.create(site, mismatch === 'refuse' ? 'kvm-b' : 'kvm-c', { mismatch });
      const templatePath = join(other.nvram, `../template`);
      if (template.length > 0) await writeFile(templatePath, template);
      const os = nvramXml(other, format, name, templatePath);
      const { status, stderr } = await other.hook('prepare', os);
      if (mismatch === 'refuse' && !isPlaced) {
        t.not(status, 0, 'the start is refused where that is asked for');
        t.match(stderr, /NVRAM_MISMATCH/);
        t.notOk(existsSync(other.permall), 'and nothing is put in place');
        continue;
      }
      t.equal(status, 0, stderr);
      t.strictSame(await readFile(other.permall), OLDER, 'the TPM is what it was');
      const path = join(other.nvram, name);
      if (isPlaced) t.strictSame(await readFile(path), stored);
      else t.notOk(existsSync(path), 'libvirt makes a fresh one');
      await other.end(os);
      if (isPlaced) continue;
      const pins = (await other.history()).flatMap((entry) => entry.pins);
      t.ok(
        pins.some((pin) => pin.startsWith('nvram-')),
        'the stored one is a snapshot',
      );
    }
  });
}

function nvramXml(host: LibvirtHost, format: string, name: string, template: string): string {
  const loader = `<loader readonly='yes' type='pflash' format='${format}'>/x/CODE</loader>`;
  const nvram = `<nvram template='${template}' templateFormat='${format}' format='${format}'>${join(host.nvram, name)}</nvram>`;
  return `<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type>${loader}${nvram}</os>`;
}

t.test('NVRAM of this host that does not suit its new firmware stays, and the way out is told', async (t) => {
  const site = await Site.create(t);
  const host = await LibvirtHost.create(site, 'kvm-a');
  await host.fixture.startAgent(t);
  await host.must('prepare');
  await host.write(OLDER);
  await writeFile(host.vars, SMALL);
  await host.must('started');
  await host.end();
  const template = join(host.nvram, '../template');
  await writeFile(template, LARGE);
  await host.must('prepare', nvramXml(host, 'raw', 'vm_VARS.fd', template));
  t.strictSame(await readFile(host.vars), SMALL);
  const told = (await host.status()).attention.find(({ code }) => code === 'NVRAM_MISMATCH');
  t.match(told?.next, /--reset-nvram vm/);
});

t.test('JSON variables are stored and restored as NVRAM is, and never in its place', async (t) => {
  const site = await Site.create(t);
  const host = await LibvirtHost.create(site, 'kvm-a');
  const varstore = (at: LibvirtHost): string =>
    `<os firmware='efi'><loader type='rom'>/x</loader><varstore template='/t.json' path='${join(at.nvram, 'vm.json')}'/></os>`;
  await host.must('prepare', varstore(host));
  await host.write(OLDER);
  await writeFile(join(host.nvram, 'vm.json'), '{"version": 2, "variables": []}');
  await host.must('started', varstore(host));
  await host.end(varstore(host));
  const other = await LibvirtHost.create(site, 'kvm-b');
  await other.must('prepare', varstore(other));
  t.equal(await readFile(join(other.nvram, 'vm.json'), 'utf8'), '{"version": 2, "variables": []}');
  await other.end(varstore(other));
  const third = await LibvirtHost.create(site, 'kvm-c');
  await third.must('prepare', nvramXml(third, 'raw', 'vm_VARS.fd', '/none'));
  t.notOk(existsSync(third.vars));
});

t.test(
  'G1, G4: an Arm VM whose TPM changes stores that alone, and has all of it on another host',
  async (t) => {
    const site = await Site.create(t);
    const host = await LibvirtHost.create(site, 'kvm-a');
    const agent = await host.fixture.startAgent(t);
    await host.must('prepare');
    await host.write(OLDER);
    const flash = Buffer.alloc(64 * 1024 * 1024, 0xff);
    flash.write('a variable', 4096);
    await writeFile(host.vars, flash, { mode: 0o640 });
    await host.must('started');
    const volume = site.volume(UUID);
    await waitUntil('the first generation', 20_000, () => isHead(host, OLDER, volume));
    await host.write(NEWER);
    await waitUntil('the change', 10_000, () => isHead(host, NEWER, volume));
    const head = await volume.expectHead();
    t.ok((await stat(volume.archive(head))).size < 10_000, 'no flash in it');
    const { partsIn = 0, epoch } = head;
    const whole = (await volume.published()).find(({ slot }) => slot === partsIn);
    t.equal(whole?.epoch, epoch);
    const inWhole = join(volume.log, String(partsIn).padStart(8, '0'));
    const byHand = await runChecked('tar', ['-xzOf', inWhole, 'nvram/nvram.fd']);
    t.ok(byHand.equals(flash), 'tar takes the flash out of the generation that the name tells');
    await host.end();
    await agent.stop();
    const other = await LibvirtHost.create(site, 'kvm-b');
    await other.must('prepare');
    t.ok((await readFile(other.permall)).equals(NEWER));
    t.ok((await readFile(other.vars)).equals(flash));
    await other.end();

    if (whole) await writeFile(volume.archive(whole), 'not any more');
    const found = await other.fixture.run(['verify', UUID]);
    t.match(found, { status: 5 });
    const third = await LibvirtHost.create(site, 'kvm-c');
    await third.fixture.startAgent(t);
    await third.must('prepare');
    t.ok((await readFile(third.permall)).equals(NEWER), 'the TPM is whole');
    t.notOk(existsSync(third.vars), 'libvirt makes fresh variables');
    const { attention } = await third.status();
    t.match(attention, [{ code: 'PART_UNREADABLE', message: /damaged or gone/ }]);
  },
);
