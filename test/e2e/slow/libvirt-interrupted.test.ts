/**
 * A start that libvirtd did not live to end: no hook tells, and the volume must not stay held by it.
 */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { domainXml } from '../../fixtures/domain-xml.js';
import { LibvirtHost } from '../../fixtures/libvirt.js';
import { runProgram } from '../../fixtures/program.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const NAME = 'guest';
const TIMEOUT_MS = 60_000;
const SETTINGS = { timing: { rescan: '600ms' } };
/** Longer than any look takes: the start goes on all the same. */
const SEVERAL_LOOKS_MS = 5_000;

async function runOf(host: LibvirtHost): Promise<string | undefined> {
  const { domains } = (await host.runJson('status')) as { domains: { state: string }[] };
  return domains[0]?.state;
}

for (const alsoAgent of [false, true]) {
  const who = alsoAgent ? 'libvirtd and the agent end' : 'libvirtd ends';
  t.test(`G4: where ${who} in the middle of a start, the volume is given back`, async (t) => {
    const base = await temporaryDirectory(t);
    const share = join(base, 'share');
    t.equal((await runProgram(['share', 'init', share])).status, 0);
    const host = await LibvirtHost.start(t, { name: 'kvm-a', base, share, settings: SETTINGS });
    const agent = await host.startAgent(t);
    await host.take('define', domainXml({ uuid: UUID, name: NAME }));
    await host.mustVirsh('start', NAME);
    await host.mustVirsh('destroy', NAME);

    const slow = host.path('/etc/libvirt/hooks/qemu.d/60-slow');
    await writeFile(slow, '#!/bin/sh\n[ "$2" != prepare ] || exec sleep 600\n', { mode: 0o755 });
    const starting = host.virsh('start', NAME);
    const isPrepared = async (): Promise<true | undefined> =>
      (await runOf(host)) === 'prepared' ? true : undefined;
    await waitUntil('the domain to be prepared', TIMEOUT_MS, isPrepared);
    await new Promise((resolve) => setTimeout(resolve, SEVERAL_LOOKS_MS));
    t.ok(await isPrepared(), 'a start may take its time');

    await host.exec(['sh', '-c', 'kill -KILL "$(cat /run/libvirtd.pid)"']);
    t.not((await starting).status, 0);
    if (alsoAgent) {
      await agent.end('KILL');
      await host.startAgent(t);
    }
    await rm(slow);
    await host.startLibvirtd();
    await waitUntil('the volume to be given back', TIMEOUT_MS, async () => {
      const [newest] = (await host.runJson('history', UUID, '--all')) as { kind: string; reason: string }[];
      return newest?.kind === 'release' && newest.reason === 'start-failed' ? true : undefined;
    });
    await host.mustVirsh('start', NAME);
    t.equal(await runOf(host), 'running');
  });
}
