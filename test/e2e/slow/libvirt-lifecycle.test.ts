/**
 * A domain's life under a real, unmodified libvirt: what it keeps in its TPM and its NVRAM comes back, whatever deletes them.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { endorsementIdentity } from '../../../src/model/endorsement-identity.js';
import { domainXml } from '../../fixtures/domain-xml.js';
import { LibvirtHost, type LibvirtHostOptions } from '../../fixtures/libvirt.js';
import { runProgram } from '../../fixtures/program.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const NAME = 'guest';
const XML = domainXml({ uuid: UUID, name: NAME });
/** Blob header, and the header of its one plain entry. */
const PAYLOAD_OFFSET = 16;
const PUBLISH_TIMEOUT_MS = 60_000;
const IMAGE = '/var/lib/libvirt/guest.save';

interface State {
  readonly permall: Buffer;
  readonly nvram: Buffer;
}

async function startHost(t: TestScope, options: Partial<LibvirtHostOptions> = {}): Promise<LibvirtHost> {
  const base = await temporaryDirectory(t);
  const share = join(base, 'share');
  const host = await LibvirtHost.start(t, { name: 'kvm-a', base, share, ...options });
  const { status, stderr } = await runProgram(['share', 'init', share]);
  if (status !== 0) throw new Error(stderr);
  return host;
}

async function stateOf(host: LibvirtHost): Promise<State> {
  return { permall: await readFile(host.permall(UUID)), nvram: await readFile(host.nvram(NAME)) };
}

function identityOf({ permall }: State): string | undefined {
  return endorsementIdentity(permall.subarray(PAYLOAD_OFFSET));
}

/** The newest published state, read back by the program. */
async function headOf(t: TestScope, host: LibvirtHost): Promise<State> {
  const directory = join(await temporaryDirectory(t), 'head');
  const { status, stderr } = await host.run('restore', UUID, '--to', directory);
  if (status !== 0) throw new Error(stderr);
  const permall = await readFile(join(directory, 'tpm2/tpm2-00.permall'));
  return { permall, nvram: await readFile(join(directory, 'nvram/nvram.fd')) };
}

interface HistoryLine {
  readonly kind: string;
  readonly reason: string;
  readonly host: string;
}

async function historyOf(host: LibvirtHost): Promise<HistoryLine[]> {
  return (await host.runJson('history', UUID, '--all')) as HistoryLine[];
}

async function isHeadCurrent(t: TestScope, host: LibvirtHost): Promise<true | undefined> {
  const [local, head] = await Promise.all([stateOf(host), headOf(t, host)]);
  return local.permall.equals(head.permall) && local.nvram.equals(head.nvram) ? true : undefined;
}

for (const agent of ['an agent', 'no agent at all'] as const) {
  t.test(
    `G8: with ${agent}, a domain that was undefined and deleted gets its TPM and NVRAM back`,
    async (t) => {
      const host = await startHost(t);
      if (agent === 'an agent') await host.startAgent(t);
      t.equal((await host.take('define', XML)).status, 0);
      await host.mustVirsh('start', NAME);
      await host.mustVirsh('destroy', NAME);
      const left = await stateOf(host);
      t.ok(identityOf(left), 'libvirt made a TPM that shows its identity');
      t.strictSame(await headOf(t, host), left, 'the final state is on the share when the stop has ended');
      t.match((await historyOf(host))[0], { kind: 'release', reason: 'destroyed' });

      await host.mustVirsh('undefine', '--nvram', NAME);
      t.notOk(existsSync(dirname(dirname(host.permall(UUID)))), 'libvirt has deleted the TPM');
      t.notOk(existsSync(host.nvram(NAME)), 'and the NVRAM');

      t.equal((await host.take('define', XML)).status, 0);
      await host.mustVirsh('start', NAME);
      t.equal(identityOf(await stateOf(host)), identityOf(left), 'the same TPM');
      await host.mustVirsh('destroy', NAME);
      t.ok(await isHeadCurrent(t, host));
    },
  );
}

t.test('a transient domain, whose TPM libvirt deletes at every stop, keeps its TPM', async (t) => {
  const host = await startHost(t);
  await host.startAgent(t);
  const identities: (string | undefined)[] = [];
  for (let round = 0; round < 2; round++) {
    const created = await host.take('create', XML);
    t.equal(created.status, 0, created.stderr);
    await host.mustVirsh('destroy', NAME);
    t.notOk(existsSync(host.permall(UUID)), 'libvirt has deleted the TPM');
    identities.push(identityOf(await headOf(t, host)));
  }
  t.ok(identities[0]);
  t.equal(identities[1], identities[0]);
});

t.test('what the firmware writes into TPM and NVRAM is published while the domain runs', async (t) => {
  const host = await startHost(t);
  await host.startAgent(t);
  await host.take('define', XML);
  await host.mustVirsh('start', NAME);
  await waitUntil('the running state to be on the share', PUBLISH_TIMEOUT_MS, () => isHeadCurrent(t, host));
  // A look at the files that is under way counts as something pending until it has found nothing new.
  const status = await waitUntil('nothing to be pending', PUBLISH_TIMEOUT_MS, async () => {
    const found = (await host.runJson('status', NAME)) as { domains: { pending: string }[] };
    return found.domains[0]?.pending === 'none' ? found : undefined;
  });
  t.match(status, { domains: [{ uuid: UUID, name: NAME, state: 'running' }] });
});

t.test('G5: after a QEMU that was killed, the final state is published', async (t) => {
  const host = await startHost(t);
  await host.startAgent(t);
  await host.take('define', XML);
  await host.mustVirsh('start', NAME);
  await host.exec(['sh', '-c', `kill -KILL "$(cat /run/libvirt/qemu/${NAME}.pid)"`]);
  await waitUntil('the release after the crash', PUBLISH_TIMEOUT_MS, async () => {
    const [newest] = await historyOf(host);
    return newest?.kind === 'release' ? true : undefined;
  });
  t.match((await historyOf(host))[0], { kind: 'release', reason: 'crashed' });
  t.ok(await isHeadCurrent(t, host));
  await host.mustVirsh('start', NAME);
});

t.test('G3: a swtpm that dies under its QEMU is told, and its VM is not taken for stopped', async (t) => {
  const host = await startHost(t);
  await host.startAgent(t);
  await host.take('define', XML);
  await host.mustVirsh('start', NAME);
  await waitUntil('the running state to be on the share', PUBLISH_TIMEOUT_MS, () => isHeadCurrent(t, host));
  const before = identityOf(await stateOf(host));
  await host.exec(['sh', '-c', `kill -KILL "$(cat /run/libvirt/qemu/swtpm/*-${NAME}-swtpm.pid)"`]);
  await waitUntil('the dead TPM to be told', PUBLISH_TIMEOUT_MS, async () => {
    const found = JSON.stringify(await host.runJson('status', NAME));
    return found.includes('"TPM_DEAD"') ? true : undefined;
  });
  t.equal(await host.mustVirsh('domstate', NAME), 'running');
  t.notMatch((await historyOf(host))[0], { kind: 'release' }, 'the volume stays held');
  await host.mustVirsh('destroy', NAME);
  await waitUntil('the release after the stop', PUBLISH_TIMEOUT_MS, async () => {
    const [newest] = await historyOf(host);
    return newest?.kind === 'release' ? true : undefined;
  });
  await host.mustVirsh('start', NAME);
  t.equal(identityOf(await stateOf(host)), before, 'the same TPM');
});

t.test('a restart of libvirtd leaves domains running, with an agent and without', async (t) => {
  const host = await startHost(t);
  const agent = await host.startAgent(t);
  await host.take('define', XML);
  await host.mustVirsh('start', NAME);
  const restart = async (): Promise<void> => {
    await host.stopLibvirtd();
    await host.startLibvirtd();
    t.equal(await host.mustVirsh('domstate', NAME), 'running');
  };
  await restart();
  await agent.end('KILL');
  await restart();
  await host.mustVirsh('destroy', NAME);
  t.ok(await isHeadCurrent(t, host), 'the last state is published without the agent');
});

for (const [how, save, resume] of [
  ['saved to a file', ['save', NAME, IMAGE], ['restore', IMAGE]],
  ['saved by libvirt itself', ['managedsave', NAME], ['start', NAME]],
] as const) {
  t.test(`a domain that is ${how} and goes on from there keeps its TPM`, async (t) => {
    const host = await startHost(t);
    await host.startAgent(t);
    await host.take('define', XML);
    await host.mustVirsh('start', NAME);
    const identity = identityOf(await stateOf(host));
    await host.mustVirsh(...save);
    t.match((await historyOf(host))[0], { kind: 'release', reason: 'saved' });
    t.ok(await isHeadCurrent(t, host));
    await host.mustVirsh(...resume);
    t.equal(await host.mustVirsh('domstate', NAME), 'running');
    await host.mustVirsh('destroy', NAME);
    t.equal(identityOf(await stateOf(host)), identity);
    t.ok(await isHeadCurrent(t, host));
  });
}

t.test('missing NVRAM comes back with the TPM that is still there', async (t) => {
  const host = await startHost(t);
  await host.take('define', XML);
  await host.mustVirsh('start', NAME);
  await host.mustVirsh('destroy', NAME);
  const left = await stateOf(host);
  await host.mustVirsh('undefine', '--nvram', '--keep-tpm', NAME);
  t.notOk(existsSync(host.nvram(NAME)));
  await host.take('define', XML);
  await host.mustVirsh('start', '--paused', NAME);
  t.strictSame(await stateOf(host), left);
});

t.test('a domain without a TPM, and one that asks for it, is left alone', async (t) => {
  const host = await startHost(t);
  const plain = domainXml({ uuid: '11111111-2222-4333-8444-555555555555', name: 'plain', devices: '' });
  const metadata = "<mirror xmlns='urn:swtpm-mirror:domain' enabled='no'/>";
  for (const xml of [plain, domainXml({ uuid: UUID, name: NAME, metadata })]) {
    const created = await host.take('create', xml);
    t.equal(created.status, 0, created.stderr);
  }
  await host.mustVirsh('destroy', NAME);
  t.notOk(existsSync(join(host.share, 'volumes')) && (await readdir(join(host.share, 'volumes'))).length > 0);
});
