import { spawn } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { RunningQemu } from '../../../src/host/node-running-qemu.js';
import type { DomainUuid } from '../../../src/model/identifiers.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

const ONE = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d' as DomainUuid;
const SOCKET = '/run/vm/one/swtpm.sock';
const BY_LIBVIRT = ['/usr/bin/qemu-system-x86_64', '-name', 'guest=one', '-uuid', ONE.toUpperCase(), '-S'];
const BY_HAND = ['qemu-system-x86_64', '-chardev', `socket,id=chrtpm,path=${SOCKET}`, '-tpmdev', 'emulator'];
const AS_JSON = ['qemu-kvm', '-chardev', `{"backend":"socket","id":"c","path":"${SOCKET}"}`];
const STRANGERS: readonly (readonly string[])[] = [
  ['virsh', 'start', ONE],
  ['virt-xml', ONE, '--edit'],
  ['grep', '-r', `-uuid ${ONE}`],
  ['sh', '-c', `qemu-system-x86_64 -uuid ${ONE}`],
  ['qemu-system-x86_64', '-uuid', '0d9f3a51-22c4-4e6b-8a77-5c1e2f3a4b5c'],
  ['qemu-system-x86_64', '-chardev', `socket,id=chrtpm,path=${SOCKET}2`],
];

/** Stands for `/proc`, as proc(5) describes it. */
class Processes {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  async add(pid: number, words: readonly string[], comm = 'qemu-system-x86', startTime = 100): Promise<void> {
    const directory = join(this.root, String(pid));
    await mkdir(directory, { recursive: true });
    const between = Array.from({ length: 18 }, () => '0').join(' ');
    await writeFile(join(directory, 'stat'), `${pid} (${comm}) S ${between} ${startTime} 0 0\n`);
    await writeFile(join(directory, 'cmdline'), `${words.join('\0')}\0`);
  }

  async addSwtpm(pid: number): Promise<void> {
    const state = `dir=/var/lib/libvirt/swtpm/${ONE}/tpm2,mode=0600`;
    await this.add(
      pid,
      ['swtpm', 'socket', '--ctrl', `type=unixio,path=${SOCKET},mode=0600`, '--tpmstate', state],
      'swtpm',
    );
  }

  async end(pid: number): Promise<void> {
    await rm(join(this.root, String(pid)), { recursive: true });
  }
}

async function rig(t: Test): Promise<{ processes: Processes; qemu: RunningQemu }> {
  const processes = new Processes(await temporaryDirectory(t));
  return { processes, qemu: new RunningQemu(processes.root) };
}

t.test('G3: a QEMU is known by the UUID, or by the socket of the swtpm that it was seen with', async (t) => {
  for (const words of [BY_LIBVIRT, BY_HAND, AS_JSON]) {
    const { processes, qemu } = await rig(t);
    await processes.add(10, words);
    await processes.addSwtpm(11);
    await qemu.learn(new Set([ONE]));
    await processes.end(11);
    t.equal(await qemu.guest(ONE), 'runs', words.join(' '));
    await processes.end(10);
    t.equal(await qemu.guest(ONE), 'gone', `${words.join(' ')}, which has ended`);
    await processes.add(10, ['another'], 'another', 900);
    t.equal(await qemu.guest(ONE), 'gone', 'its process id is another process’s now');
    qemu.forget(ONE);
    t.equal(await qemu.guest(ONE), 'unknown', 'a new run');
  }
});

t.test('G3: what was never seen is unknown, and strangers are not taken for it', async (t) => {
  const { processes, qemu } = await rig(t);
  await processes.addSwtpm(11);
  await qemu.learn(new Set([ONE]));
  await processes.end(11);
  for (const [at, words] of STRANGERS.entries()) await processes.add(20 + at, words);
  t.equal(await qemu.guest(ONE), 'unknown');
});

t.test('G3: a QEMU that this program sees for the first time, whatever its name', async (t) => {
  const { processes, qemu } = await rig(t);
  await processes.add(10, ['/opt/vmm/emulator', '-uuid', ONE], 'emulator');
  t.equal(await qemu.guest(ONE), 'runs', 'its swtpm died before this program began');
});

t.test('a real process, and its end', async (t) => {
  const uuid = '00000000-0000-4000-8000-00000000beef' as DomainUuid;
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', 'x', '-uuid', uuid]);
  t.teardown(() => child.kill('SIGKILL'));
  await new Promise((resolve) => child.once('spawn', resolve));
  const qemu = new RunningQemu();
  t.equal(await qemu.guest(uuid), 'runs');
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
  t.equal(await qemu.guest(uuid), 'gone');
});
