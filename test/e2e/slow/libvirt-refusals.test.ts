/**
 * G8 under a real libvirt: a start that cannot get the domain's state is refused with the reason, and changes nothing anywhere.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { domainXml } from '../../fixtures/domain-xml.js';
import { LibvirtHost } from '../../fixtures/libvirt.js';
import { runProgram } from '../../fixtures/program.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const NAME = 'guest';
const XML = domainXml({ uuid: UUID, name: NAME });

interface Pair {
  readonly share: string;
  readonly a: LibvirtHost;
  readonly b: LibvirtHost;
}

/** Two hosts of one share; the domain has run on host A and is defined on both. */
async function startPair(t: TestScope): Promise<Pair> {
  const base = await temporaryDirectory(t);
  const share = join(base, 'share');
  await initShare(share);
  const [a, b] = await Promise.all(
    ['kvm-a', 'kvm-b'].map((name) => LibvirtHost.start(t, { name, base, share })),
  );
  if (!a || !b) throw new Error('expected two hosts');
  for (const host of [a, b]) {
    await host.startAgent(t);
    await host.take('define', XML);
  }
  await a.mustVirsh('start', NAME);
  await a.mustVirsh('destroy', NAME);
  return { share, a, b };
}

async function initShare(share: string): Promise<void> {
  const { status, stderr } = await runProgram(['share', 'init', share]);
  if (status !== 0) throw new Error(stderr);
}

/** The whole log of the domain's volume, as links. */
async function logOf(share: string): Promise<string[]> {
  return (await readdir(join(share, 'volumes', UUID, 'log'))).sort();
}

interface Refusal {
  readonly code: string;
  readonly next: RegExp;
}

/** @param share where the domain's volume lies by now */
async function refusesStart(
  t: Test,
  host: LibvirtHost,
  share: string,
  { code, next }: Refusal,
): Promise<void> {
  const log = await logOf(share);
  const hadDirectory = existsSync(swtpmDirectory(host));
  const { status, stderr } = await host.virsh('start', NAME);
  t.not(status, 0, 'the start is refused');
  t.match(stderr, `swtpm-mirror: ${code}: `, 'whoever started it reads why');
  t.match(stderr, next, 'and what to do');
  t.equal(await host.mustVirsh('domstate', NAME), 'shut off');
  t.equal(existsSync(swtpmDirectory(host)), hadDirectory, 'no directory is left behind');
  t.strictSame(await logOf(share), log, 'the hooks that follow publish and release nothing');
}

function swtpmDirectory(host: LibvirtHost): string {
  return dirname(dirname(host.permall(UUID)));
}

const OPERATOR = /swtpm-mirror take-over|mounted|mount/;

t.test('held by a host that is alive', async (t) => {
  const { share, a, b } = await startPair(t);
  // Paused, so that A has nothing to publish meanwhile.
  await a.mustVirsh('start', '--paused', NAME);
  t.equal((await a.run('capture', NAME)).status, 0);
  await refusesStart(t, b, share, { code: 'HELD_ELSEWHERE', next: OPERATOR });
  t.notOk(existsSync(swtpmDirectory(b)));
  await a.mustVirsh('destroy', NAME);
  await b.mustVirsh('start', NAME);
  t.ok(existsSync(b.permall(UUID)), 'released by A, it starts on B');
});

t.test('the share is gone', async (t) => {
  const { share, a, b } = await startPair(t);
  await rename(share, `${share}-away`);
  const left = await readFile(a.permall(UUID));
  const refusal = { code: 'SHARE_NOT_INITIALIZED', next: OPERATOR };
  for (const host of [a, b]) await refusesStart(t, host, `${share}-away`, refusal);
  t.strictSame(await readFile(a.permall(UUID)), left, 'local state is not touched');
  t.notOk(existsSync(swtpmDirectory(b)));
  await rename(`${share}-away`, share);
  await b.mustVirsh('start', NAME);
});

t.test('another share is mounted in its place', async (t) => {
  const { share, b } = await startPair(t);
  await rename(share, `${share}-away`);
  await initShare(share);
  await refusesStart(t, b, `${share}-away`, { code: 'SHARE_WRONG', next: OPERATOR });
  t.notOk(existsSync(swtpmDirectory(b)));
  t.notOk(existsSync(join(share, 'volumes', UUID)), 'nothing is written to it');
});

t.test('another TPM came up while the hook was not there', async (t) => {
  const { share, a } = await startPair(t);
  const hook = a.path('/etc/libvirt/hooks/qemu.d/50-swtpm-mirror');
  const script = await readFile(hook);
  await a.mustVirsh('undefine', '--nvram', NAME);
  await writeFile(hook, '#!/bin/sh\nexit 0\n');
  const blank = '11111111-2222-4333-8444-555555555555';
  await a.take('define', domainXml({ uuid: blank, name: 'blank' }));
  await a.mustVirsh('start', 'blank');
  await a.mustVirsh('destroy', 'blank');
  await rename(dirname(dirname(a.permall(blank))), swtpmDirectory(a));
  await writeFile(hook, script);
  await a.take('define', XML);
  await refusesStart(t, a, share, { code: 'FOREIGN_TPM', next: /swtpm-mirror resolve/ });
  t.ok(existsSync(a.permall(UUID)), 'the other TPM is kept');
});
