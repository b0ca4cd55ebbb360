/**
 * libvirt's events under a real libvirtd: what no hook tells is noticed at once, not at the next rescan; also after libvirtd was away; and the virsh
 * that follows them never outlives its agent.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
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
/** Longer than events are gathered; a look that takes longer has its turn in a later round. */
const SEEN_MS = 1_000;
/** No rescan comes to help. */
const SETTINGS = { timing: { rescan: '1h', retry_max: '1s' } };

/** A host with an agent whose domain has run once, and is shut off. */
async function startHost(t: TestScope): Promise<LibvirtHost> {
  const base = await temporaryDirectory(t);
  const share = join(base, 'share');
  const { status, stderr } = await runProgram(['share', 'init', share]);
  if (status !== 0) throw new Error(stderr);
  const host = await LibvirtHost.start(t, { name: 'kvm-a', base, share, settings: SETTINGS });
  await host.take('define', XML);
  await host.mustVirsh('start', NAME);
  await host.mustVirsh('destroy', NAME);
  return host;
}

async function isNoticed(host: LibvirtHost, code: string, expected = true): Promise<void> {
  await waitUntil(`${code} to be ${expected ? 'told' : 'told no more'}`, TIMEOUT_MS, async () => {
    const { attention } = (await host.runJson('status')) as { attention: { code: string }[] };
    return attention.some((one) => one.code === code) === expected ? true : undefined;
  });
}

/** Process ids, in the host, of every virsh that follows events. */
async function followers(host: LibvirtHost): Promise<string> {
  return (await host.exec(['sh', '-c', 'pgrep -x virsh || true'])).trim();
}

async function isFollowing(host: LibvirtHost, expected: boolean): Promise<void> {
  await waitUntil(`virsh ${expected ? 'to follow events' : 'to be gone'}`, TIMEOUT_MS, async () =>
    ((await followers(host)) !== '') === expected ? true : undefined,
  );
}

/** virsh says nowhere that it is connected by now, so the domain is defined again until that is heard. */
async function isHeard(host: LibvirtHost): Promise<void> {
  await waitUntil('an undefined domain to be told', TIMEOUT_MS, async () => {
    await host.take('define', XML);
    // A domain that goes within the one look that its events cause was never there.
    await delay(SEEN_MS);
    await host.mustVirsh('undefine', '--nvram', '--keep-tpm', NAME);
    const { attention } = (await host.runJson('status')) as { attention: { code: string }[] };
    return attention.some(({ code }) => code === 'DOMAIN_UNDEFINED') ? true : undefined;
  });
  await host.take('define', XML);
  await isNoticed(host, 'DOMAIN_UNDEFINED', false);
}

t.test('what happens in libvirt is noticed at once, also after libvirtd was restarted', async (t) => {
  const host = await startHost(t);
  await host.startAgent(t);
  await isHeard(host);
  await host.stopLibvirtd();
  await isFollowing(host, false);
  await host.startLibvirtd();
  await isHeard(host);

  await rm(host.path('/etc/libvirt/hooks/qemu.d/50-swtpm-mirror'));
  await host.mustVirsh('start', NAME);
  await isNoticed(host, 'HOOK_MISSING');
  t.match(await host.runJson('status', NAME), { domains: [{ state: 'running' }] });
});

for (const signal of ['TERM', 'KILL'] as const) {
  t.test(`an agent that ends by SIG${signal} leaves no virsh behind`, async (t) => {
    const host = await startHost(t);
    const agent = await host.startAgent(t);
    await isFollowing(host, true);
    const pid = await followers(host);
    await agent.end(signal);
    await isFollowing(host, false);
    t.ok(pid);
  });
}
