/**
 * What no hook tells, or a hook that is not there: noticed from outside under a real libvirt, and said in `status` and by `doctor`.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { domainXml } from '../../fixtures/domain-xml.js';
import { LibvirtHost, type LibvirtHostOptions } from '../../fixtures/libvirt.js';
import { runProgram } from '../../fixtures/program.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const NAME = 'guest';
const XML = domainXml({ uuid: UUID, name: NAME });
const NOTICE_TIMEOUT_MS = 60_000;
const SETTINGS = { timing: { rescan: '300ms' } };

interface Finding {
  readonly check: string;
  readonly verdict: string;
  readonly code?: string;
}

async function startHost(t: TestScope, options: Partial<LibvirtHostOptions> = {}): Promise<LibvirtHost> {
  const base = await temporaryDirectory(t);
  const share = join(base, 'share');
  const { status, stderr } = await runProgram(['share', 'init', share]);
  if (status !== 0) throw new Error(stderr);
  return await LibvirtHost.start(t, { name: 'kvm-a', base, share, settings: SETTINGS, ...options });
}

async function attentionCodes(host: LibvirtHost): Promise<string[]> {
  const { attention } = (await host.runJson('status')) as { attention: { code: string }[] };
  return attention.map(({ code }) => code);
}

async function isNoticed(host: LibvirtHost, code: string, expected = true): Promise<void> {
  await waitUntil(`${code} to be ${expected ? 'told' : 'told no more'}`, NOTICE_TIMEOUT_MS, async () =>
    (await attentionCodes(host)).includes(code) === expected ? true : undefined,
  );
}

async function findings(host: LibvirtHost): Promise<Finding[]> {
  const { stdout } = await host.run('doctor', '--json');
  return (JSON.parse(stdout.toString()) as { findings: Finding[] }).findings;
}

function verdictOf(found: readonly Finding[], check: string): string | undefined {
  return found.find((finding) => finding.check === check)?.verdict;
}

t.test(
  'a plain undefine by somebody else is told, also after libvirtd was restarted, and costs nothing',
  async (t) => {
    const host = await startHost(t);
    const agent = await host.startAgent(t);
    await host.take('define', XML);
    await host.mustVirsh('start', NAME);
    await host.mustVirsh('destroy', NAME);
    const left = await readFile(host.permall(UUID));
    await host.stopLibvirtd();
    await host.startLibvirtd();
    await host.mustVirsh('undefine', '--nvram', NAME);
    await isNoticed(host, 'DOMAIN_UNDEFINED');
    await agent.end('KILL');
    const next = await host.startAgent(t);
    await isNoticed(host, 'DOMAIN_UNDEFINED');
    await host.take('define', XML);
    await isNoticed(host, 'DOMAIN_UNDEFINED', false);
    await next.end('KILL');
    await host.mustVirsh('undefine', '--nvram', NAME);
    await host.startAgent(t);
    await isNoticed(host, 'DOMAIN_UNDEFINED');
    await host.take('define', XML);
    await isNoticed(host, 'DOMAIN_UNDEFINED', false);
    await host.mustVirsh('start', '--paused', NAME);
    t.strictSame(await readFile(host.permall(UUID)), left);
  },
);

t.test('G8: a TPM that was removed from the definition keeps its state until purge', async (t) => {
  const host = await startHost(t);
  const agent = await host.startAgent(t);
  await host.take('define', XML);
  await host.mustVirsh('start', NAME);
  await host.mustVirsh('destroy', NAME);
  const left = await readFile(host.permall(UUID));
  await host.mustVirsh('undefine', '--nvram', NAME);
  await host.take('define', domainXml({ uuid: UUID, name: NAME, devices: '' }));
  await host.mustVirsh('start', NAME);
  await isNoticed(host, 'TPM_REMOVED');
  await agent.end('KILL');
  await host.startAgent(t);
  t.ok((await attentionCodes(host)).includes('TPM_REMOVED'), 'also by the next agent');
  await host.mustVirsh('destroy', NAME);
  await host.mustVirsh('undefine', '--nvram', NAME);
  await host.take('define', XML);
  await host.mustVirsh('start', '--paused', NAME);
  t.strictSame(await readFile(host.permall(UUID)), left, 'added again, it is the same TPM');
  t.notOk((await attentionCodes(host)).includes('TPM_REMOVED'));
});

t.test('a hook that libvirtd never noticed, or that is not there', async (t) => {
  const host = await startHost(t, { hook: false });
  await host.startAgent(t);
  t.equal(verdictOf(await findings(host), 'hook'), 'problem');
  await host.take('define', XML);
  await host.mustVirsh('start', NAME);
  await isNoticed(host, 'HOOK_MISSING');
  await host.mustVirsh('destroy', NAME);

  await host.installHook();
  const installed = await findings(host);
  t.equal(verdictOf(installed, 'hook'), 'ok');
  t.equal(verdictOf(installed, 'hook runs'), 'warning');

  await host.stopLibvirtd();
  await host.startLibvirtd();
  t.equal(verdictOf(await findings(host), 'hook runs'), 'warning', 'nobody has seen it run yet');
  await host.mustVirsh('start', NAME);
  t.equal(verdictOf(await findings(host), 'hook runs'), 'ok', 'libvirtd was seen to run it');
  t.notOk((await attentionCodes(host)).includes('HOOK_MISSING'), 'the hook has spoken');
});
