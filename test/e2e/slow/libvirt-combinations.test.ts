/**
 * What a domain's guest wrote last comes back byte by byte under a real libvirt, for each way of being defined, of ending and of being looked after.
 */
import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { domainXml } from '../../fixtures/domain-xml.js';
import { LibvirtHost } from '../../fixtures/libvirt.js';
import { runProgram } from '../../fixtures/program.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const NAME = 'guest';
const XML = domainXml({ uuid: UUID, name: NAME });
const TIMEOUT_MS = 60_000;
/** As much of libvirt's log of the domain as says why it is gone. */
const LOG_TAIL = 1000;

type Kind = 'persistent' | 'transient';
/** `crash-unseen`: QEMU is killed while libvirtd is away, which finds its domain gone when it comes back. */
type End = 'destroy' | 'crash' | 'crash-unseen';

interface State {
  readonly permall: Buffer;
  readonly nvram: Buffer;
}

async function startHost(t: TestScope): Promise<LibvirtHost> {
  const base = await temporaryDirectory(t);
  const share = join(base, 'share');
  const { status, stderr } = await runProgram(['share', 'init', share]);
  if (status !== 0) throw new Error(stderr);
  return await LibvirtHost.start(t, { name: 'kvm-a', base, share });
}

async function stateOf(host: LibvirtHost): Promise<State> {
  return { permall: await readFile(host.permall(UUID)), nvram: await readFile(host.nvram(NAME)) };
}

/** The domain is there, and its guest has not run yet. */
async function begin(host: LibvirtHost, kind: Kind): Promise<void> {
  const isPersistent = kind === 'persistent';
  const made = isPersistent ? await host.take('define', XML) : await host.take('create', XML, '--paused');
  if (made.status !== 0) throw new Error(made.stderr);
  if (isPersistent) await host.mustVirsh('start', '--paused', NAME);
}

/** The guest's firmware runs until it has written to TPM and NVRAM, and is stopped in the middle. @returns what it wrote */
async function write(host: LibvirtHost): Promise<State> {
  const before = await stateOf(host);
  await host.mustVirsh('resume', NAME);
  await waitUntil('the firmware to write to TPM and NVRAM', TIMEOUT_MS, async () => {
    const now = await stateOf(host);
    return now.permall.equals(before.permall) || now.nvram.equals(before.nvram) ? undefined : true;
  });
  await host.mustVirsh('suspend', NAME);
  return await stateOf(host);
}

async function end(host: LibvirtHost, how: End): Promise<void> {
  if (how === 'destroy') {
    const { status, stderr } = await host.virsh('destroy', NAME);
    if (status !== 0) throw new Error(`${stderr}\n${(await host.domainLog(NAME)).slice(-LOG_TAIL)}`);
    return;
  }
  const kill = ['sh', '-c', `kill -KILL "$(cat /run/libvirt/qemu/${NAME}.pid)"`];
  if (how === 'crash-unseen') await host.stopLibvirtd();
  await host.exec(kill);
  if (how === 'crash-unseen') await host.startLibvirtd();
  await waitUntil('the release after the crash', TIMEOUT_MS, async () => {
    const [newest] = (await host.runJson('history', UUID, '--all')) as { readonly kind: string }[];
    return newest?.kind === 'release' ? true : undefined;
  });
}

/** Whatever libvirt keeps of a domain that has ended goes, too. */
async function forget(host: LibvirtHost, kind: Kind): Promise<void> {
  if (kind === 'persistent') await host.mustVirsh('undefine', '--nvram', NAME);
  // libvirt leaves a transient domain's.
  else await rm(host.nvram(NAME));
}

for (const agent of ['an agent', 'no agent at all'] as const) {
  for (const kind of ['persistent', 'transient'] as const) {
    t.test(`G8: a ${kind} domain with ${agent}`, async (t) => {
      const host = await startHost(t);
      if (agent === 'an agent') await host.startAgent(t);
      await begin(host, kind);
      for (const how of ['destroy', 'crash', 'crash-unseen'] as const) {
        const written = await write(host);
        await host.stopLibvirtd();
        await host.startLibvirtd();
        await end(host, how);
        await forget(host, kind);
        t.notOk(existsSync(dirname(dirname(host.permall(UUID)))), `${how}: libvirt has deleted the TPM`);
        t.notOk(existsSync(host.nvram(NAME)), `${how}: the NVRAM is gone`);
        await begin(host, kind);
        t.strictSame(await stateOf(host), written, `${how}: what the guest wrote last is back`);
      }
    });
  }
}
