/**
 * `placement = "direct"` under a real libvirt: its swtpm works on the share through a link that libvirt never gets to delete through.
 */
import { existsSync } from 'node:fs';
import { chmod, lstat, readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { endorsementIdentity } from '../../../src/model/endorsement-identity.js';
import { domainXml } from '../../fixtures/domain-xml.js';
import { LibvirtHost } from '../../fixtures/libvirt.js';
import { runProgram } from '../../fixtures/program.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const NAME = 'guest';
const XML = domainXml({ uuid: UUID, name: NAME });
/** Blob header, and the header of its one plain entry. */
const PAYLOAD_OFFSET = 16;
const PASSABLE_MODE = 0o711;
const PUBLISH_TIMEOUT_MS = 60_000;

/** A host whose domain has run once, and is shut off. */
async function startHost(t: TestScope): Promise<LibvirtHost> {
  const base = await temporaryDirectory(t);
  // swtpm's user passes through here to the share, as it would to a mount.
  await chmod(base, PASSABLE_MODE);
  const share = join(base, 'share');
  const { status, stderr } = await runProgram(['share', 'init', share]);
  if (status !== 0) throw new Error(stderr);
  const host = await LibvirtHost.start(t, {
    name: 'kvm-a',
    base,
    share,
    settings: { '': { placement: 'direct' } },
  });
  await host.startAgent(t);
  await host.take('define', XML);
  await host.mustVirsh('start', NAME);
  await host.mustVirsh('destroy', NAME);
  return host;
}

async function headOf(t: TestScope, host: LibvirtHost): Promise<Buffer> {
  const directory = join(await temporaryDirectory(t), 'head');
  const { status, stderr } = await host.run('restore', UUID, '--to', directory);
  if (status !== 0) throw new Error(stderr);
  return await readFile(join(directory, 'tpm2/tpm2-00.permall'));
}

function identityOf(permall: Buffer): string | undefined {
  return endorsementIdentity(permall.subarray(PAYLOAD_OFFSET));
}

function tpmDirectory(host: LibvirtHost): string {
  return dirname(host.permall(UUID));
}

async function filesOf(host: LibvirtHost): Promise<string[]> {
  return await readdir(join(host.share, 'volumes', UUID, 'live'), { recursive: true }).catch(() => []);
}

t.test(
  'the second start works on the share, is captured while it runs, and ends without a trace',
  async (t) => {
    const host = await startHost(t);
    const identity = identityOf(await headOf(t, host));
    t.ok(identity, 'libvirt made a TPM with its keys on this host first');

    await host.mustVirsh('start', NAME);
    t.ok((await lstat(tpmDirectory(host))).isSymbolicLink());
    t.not((await stat(host.permall(UUID))).uid, 0, "libvirt gave the files on the share to swtpm's user");
    t.match(await host.runJson('status', NAME), { domains: [{ placement: 'direct', state: 'running' }] });
    await waitUntil('the running state to be published', PUBLISH_TIMEOUT_MS, async () =>
      (await headOf(t, host)).equals(await readFile(host.permall(UUID))) ? true : undefined,
    );

    await host.mustVirsh('destroy', NAME);
    t.notOk(existsSync(tpmDirectory(host)), 'the link is gone before anybody can undefine the domain');
    t.strictSame(await filesOf(host), []);
    await host.mustVirsh('undefine', '--nvram', NAME);
    await host.take('define', XML);
    await host.mustVirsh('start', NAME);
    t.equal(identityOf(await readFile(host.permall(UUID))), identity, 'the same TPM');
  },
);

t.test('G7: undefined while it runs, and stopped, it loses nothing', async (t) => {
  const host = await startHost(t);
  const identity = identityOf(await headOf(t, host));
  await host.mustVirsh('start', NAME);
  await host.mustVirsh('undefine', '--nvram', NAME);
  await host.mustVirsh('destroy', NAME);
  t.equal(identityOf(await headOf(t, host)), identity);
  await host.take('define', XML);
  await host.mustVirsh('start', NAME);
  t.equal(identityOf(await readFile(host.permall(UUID))), identity);
});

t.test('a start that libvirt itself fails leaves no link', async (t) => {
  const host = await startHost(t);
  const broken = XML.replace('</devices>', "<serial type='file'><source path='/none/x'/></serial></devices>");
  await host.take('define', broken);
  t.not((await host.virsh('start', NAME)).status, 0);
  t.notOk(existsSync(tpmDirectory(host)));
  t.strictSame(await filesOf(host), []);
});
