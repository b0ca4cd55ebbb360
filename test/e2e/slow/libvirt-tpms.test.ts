/**
 * The other kinds of emulated TPM that libvirt knows: TPM 1.2, and state that swtpm encrypts with a secret of libvirt's.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { domainXml } from '../../fixtures/domain-xml.js';
import { LibvirtHost } from '../../fixtures/libvirt.js';
import { runProgram } from '../../fixtures/program.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const NAME = 'guest';
const SECRET = '11111111-2222-4333-8444-555555555555';
const PASSPHRASE = 'worth keeping';

function tpm(backend: string): string {
  return `<tpm model='tpm-tis'>${backend}</tpm>`;
}

const KINDS = [
  {
    kind: 'a TPM 1.2',
    devices: tpm("<backend type='emulator' version='1.2'/>"),
    file: 'tpm1.2/tpm-00.permall',
  },
  {
    kind: 'an encrypted TPM 2',
    devices: tpm(`<backend type='emulator' version='2.0'><encryption secret='${SECRET}'/></backend>`),
    file: 'tpm2/tpm2-00.permall',
  },
] as const;

async function defineSecret(host: LibvirtHost): Promise<void> {
  const xml = `<secret ephemeral='no' private='yes'><uuid>${SECRET}</uuid>
    <usage type='vtpm'><name>${NAME}</name></usage></secret>`;
  await host.exec(['sh', '-c', 'cat >/run/secret.xml && virsh --quiet secret-define /run/secret.xml'], {
    input: xml,
  });
  const value = Buffer.from(PASSPHRASE).toString('base64');
  await host.mustVirsh('secret-set-value', SECRET, '--base64', value);
}

for (const { kind, devices, file } of KINDS) {
  t.test(`G8: ${kind} comes back byte by byte`, async (t) => {
    const base = await temporaryDirectory(t);
    const share = join(base, 'share');
    t.equal((await runProgram(['share', 'init', share])).status, 0);
    const host = await LibvirtHost.start(t, { name: 'kvm-a', base, share });
    const agent = await host.startAgent(t);
    await defineSecret(host);
    const xml = domainXml({ uuid: UUID, name: NAME, devices });
    t.equal((await host.take('define', xml)).status, 0);
    await host.mustVirsh('start', NAME);
    await host.mustVirsh('destroy', NAME);
    const directory = dirname(dirname(host.permall(UUID)));
    const left = await readFile(join(directory, file));
    t.ok(left.length > 0);
    await host.mustVirsh('undefine', '--nvram', NAME);
    t.notOk(existsSync(directory), 'libvirt has deleted the TPM');
    t.equal((await host.take('define', xml)).status, 0);
    await host.mustVirsh('start', '--paused', NAME);
    t.strictSame(await readFile(join(directory, file)), left);
    t.notMatch(agent.log, PASSPHRASE);
  });
}
