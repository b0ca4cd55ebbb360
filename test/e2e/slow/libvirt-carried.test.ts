/**
 * A definition that carries its domain's TPM, under a real libvirt: used where nothing else is left of the domain, aloud; and nowhere else.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { domainXml } from '../../fixtures/domain-xml.js';
import { OTHER_DOMAIN, PERMALL } from '../../fixtures/guest.js';
import { HostFixture } from '../../fixtures/host.js';
import { LibvirtHost } from '../../fixtures/libvirt.js';
import { runProgram } from '../../fixtures/program.js';
import { readStateBlob } from '../../fixtures/state-blobs.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';
import { readTree } from '../../fixtures/tree.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const NAME = 'guest';
const DECISION = /"decision":"([a-z-]+)"/g;

async function reasonsOf(host: LibvirtHost | HostFixture): Promise<string[]> {
  const story = host instanceof LibvirtHost ? host.runJson('history', UUID) : host.runJson(['history', UUID]);
  return ((await story) as { reason: string }[]).map(({ reason }) => reason);
}

t.test(
  'a definition carries its TPM and its NVRAM to where nothing else of the domain is left',
  async (t) => {
    const base = await temporaryDirectory(t);
    const share = join(base, 'share');
    t.equal((await runProgram(['share', 'init', share])).status, 0);
    const host = await LibvirtHost.start(t, { name: 'kvm-a', base, share });
    const agent = await host.startAgent(t);
    const decisions = (): (string | undefined)[] => [...agent.log.matchAll(DECISION)].map(([, word]) => word);
    const start = async (): Promise<void> => {
      await host.mustVirsh('start', '--paused', NAME);
    };
    const define = async (metadata: string, uuid = UUID, name = NAME): Promise<void> => {
      const { status, stderr } = await host.take('define', domainXml({ uuid, name, metadata }));
      t.equal(status, 0, stderr);
    };
    await define('');
    await host.mustVirsh('start', NAME);
    await host.mustVirsh('destroy', NAME);
    const tpm = await readFile(host.permall(UUID));
    const nvram = await readFile(host.nvram(NAME));
    const file = join(base, 'tpm.xml');
    t.match(await host.run('export', UUID, file, '--format', 'metadata'), { status: 0 });
    const element = await readFile(file, 'utf8');
    await host.mustVirsh('undefine', '--nvram', NAME);
    t.match(await host.run('purge', UUID, '--yes'), { status: 0 });

    await define(element);
    await start();
    t.strictSame(await readFile(host.permall(UUID)), tpm);
    t.strictSame(await readFile(host.nvram(NAME)), nvram);
    t.equal(decisions().at(-1), 'restore-carried');
    t.strictSame(await reasonsOf(host), ['carried']);
    t.match(await host.runJson('status'), {
      domains: [
        {
          uuid: UUID,
          state: 'running',
          head: 2,
          attention: [{ code: 'CARRIED_USED', next: /virsh metadata/ }],
        },
      ],
    });
    t.match(agent.log, /"code":"CARRIED_USED"/);

    await host.mustVirsh('destroy', NAME);
    await start();
    t.equal(decisions().at(-1), 'keep-local', 'the definition has no say any more');
    t.match(await host.runJson('status'), { domains: [{ attention: [] }] });
    await host.mustVirsh('destroy', NAME);
    await host.mustVirsh('undefine', '--nvram', NAME);
    await define(element);
    await start();
    t.equal(decisions().at(-1), 'restore-head', 'nor where libvirt has deleted what lay here');
    await host.mustVirsh('destroy', NAME);

    await define(element, OTHER_DOMAIN, 'copy');
    t.match(await host.virsh('start', 'copy'), { status: 1, stderr: /CARRIED_INVALID: .*another domain/ });
    t.match(await host.run('forget', UUID), { status: 0 });
    t.match(await host.virsh('start', NAME), { status: 1, stderr: /TOMBSTONED/ });
    for (const line of element.split('\n').slice(1, -2)) {
      t.notOk(agent.log.includes(line), 'the log has none of it');
    }
  },
);

t.test('where no agent runs the hook itself restores it, and refuses what it cannot', async (t) => {
  const base = await temporaryDirectory(t);
  const shares = ['share', 'other'].map((name) => join(base, name));
  const hosts = await Promise.all(
    shares.map(async (share, at) => {
      t.equal((await runProgram(['share', 'init', share])).status, 0);
      return await HostFixture.create({ name: `kvm-${String(at)}`, base, share });
    }),
  );
  const [from, to] = hosts;
  if (!from || !to) throw new Error('expected two hosts');
  const hook = (host: HostFixture, operation: string, metadata: string): ReturnType<HostFixture['run']> => {
    const input = domainXml({ uuid: UUID, name: NAME, metadata });
    return host.run(['hook', NAME, operation, 'begin', '-'], { input });
  };
  const { data } = readStateBlob('used.permall');
  await mkdir(from.tpmDirectory(UUID), { recursive: true });
  await writeFile(join(from.tpmDirectory(UUID), PERMALL), data);
  for (const operation of ['prepare', 'started', 'release']) {
    t.match(await hook(from, operation, ''), { status: 0 });
  }
  const file = join(base, 'tpm.xml');
  t.match(await from.run(['export', UUID, file, '--format', 'metadata']), { status: 0 });
  const element = await readFile(file, 'utf8');

  const damaged = element.replace(/\n.{8}/, '\nAAAAAAAA');
  t.match(await hook(to, 'prepare', damaged), { status: 5, stdout: '', stderr: /: CARRIED_INVALID: / });
  t.strictSame(
    Object.keys(await readTree(join(to.share, 'volumes'))),
    ['.'],
    'a refusal leaves nothing behind',
  );
  t.match(await hook(to, 'prepare', element), { status: 0, stdout: '', stderr: '' });
  t.strictSame(await readFile(join(to.tpmDirectory(UUID), PERMALL)), Buffer.from(data));
  t.strictSame(await reasonsOf(to), ['carried']);
});
