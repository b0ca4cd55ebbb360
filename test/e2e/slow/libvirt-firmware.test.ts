/**
 * Real firmware under a real libvirt: what it keeps its variables in comes back on another host, as QEMU needs it. No guest runs for long: QEMU opens
 * its flash before the first instruction, and refuses what does not suit.
 */
import { existsSync } from 'node:fs';
import { chmod, open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { LibvirtHost } from '../../fixtures/libvirt.js';
import { runChecked } from '../../fixtures/process.js';
import { runProgram } from '../../fixtures/program.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

interface Firmware {
  readonly name: string;
  readonly arch: 'x86_64' | 'aarch64';
  readonly code: string;
  readonly vars: string;
  readonly format: 'raw' | 'qcow2';
  readonly isSecure?: boolean;
}

const OVMF = '/usr/share/OVMF';
const AAVMF = '/usr/share/AAVMF';
const TABLE: readonly Firmware[] = [
  {
    name: 'ovmf-2m',
    arch: 'x86_64',
    code: `${OVMF}/OVMF_CODE.fd`,
    vars: `${OVMF}/OVMF_VARS.fd`,
    format: 'raw',
  },
  {
    name: 'ovmf-4m',
    arch: 'x86_64',
    code: `${OVMF}/OVMF_CODE_4M.fd`,
    vars: `${OVMF}/OVMF_VARS_4M.fd`,
    format: 'raw',
  },
  {
    name: 'ovmf-secure',
    arch: 'x86_64',
    code: `${OVMF}/OVMF_CODE_4M.ms.fd`,
    vars: `${OVMF}/OVMF_VARS_4M.ms.fd`,
    format: 'raw',
    isSecure: true,
  },
  {
    name: 'ovmf-qcow2',
    arch: 'x86_64',
    code: `${OVMF}/OVMF_CODE_4M.fd`,
    vars: `${OVMF}/OVMF_VARS_4M.fd`,
    format: 'qcow2',
  },
  {
    name: 'aavmf',
    arch: 'aarch64',
    code: `${AAVMF}/AAVMF_CODE.fd`,
    vars: `${AAVMF}/AAVMF_VARS.fd`,
    format: 'raw',
  },
];

const AS_OPENNEBULA = 'dynamic_ownership = 0\\nswtpm_user = "libvirt-qemu"\\nswtpm_group = "libvirt-qemu"\\n';
const MARK = 'a variable of this very VM';
/** From the end: in the store's spare block, which no firmware reads before it writes. */
const MARK_FROM_END = 4096;

function uuidOf(at: number): string {
  return `6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c0${String(at)}`;
}

function xmlOf(
  { name, arch, code, format, isSecure = false }: Firmware,
  at: number,
  vars: string,
  template: string,
): string {
  const machine = arch === 'aarch64' ? 'virt' : 'q35';
  const smm = isSecure ? "<smm state='on'/>" : '';
  const acpi = arch === 'aarch64' ? '' : '<acpi/>';
  return `<domain type='qemu'><name>${name}</name><uuid>${uuidOf(at)}</uuid><memory unit='MiB'>256</memory><vcpu>1</vcpu>
  <os><type arch='${arch}' machine='${machine}'>hvm</type>
  <loader readonly='yes' secure='${isSecure ? 'yes' : 'no'}' type='pflash' format='${format}'>${code}</loader>
  <nvram template='${template}' format='${format}'>${vars}</nvram></os>
  <features>${acpi}${smm}</features>${arch === 'aarch64' ? "<cpu mode='custom'><model>cortex-a57</model></cpu>" : ''}
  <devices><emulator>/usr/bin/qemu-system-${arch}</emulator><tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm></devices></domain>`;
}

async function mark(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.write(Buffer.from(MARK), 0, undefined, (await file.stat()).size - MARK_FROM_END);
  } finally {
    await file.close();
  }
}

async function startPaused(host: LibvirtHost, name: string): Promise<void> {
  await host.mustVirsh('start', '--paused', name);
}

async function isTakenAs(host: LibvirtHost, name: string, format: string): Promise<boolean> {
  return (await host.mustVirsh('dumpxml', name)).includes(`format='${format}'`);
}

t.test('G4: variables of real firmware come back on another host, whose QEMU opens them', async (t) => {
  const base = await temporaryDirectory(t);
  const share = join(base, 'share');
  const from = await LibvirtHost.start(t, { name: 'kvm-a', base: join(base, 'a'), share });
  const { status, stderr } = await runProgram(['share', 'init', share]);
  t.equal(status, 0, stderr);
  const to = await LibvirtHost.start(t, { name: 'kvm-b', base: join(base, 'b'), share });
  // From here on whose a file is is the product's affair: QEMU is no root, and libvirt changes no owner.
  await to.stopLibvirtd();
  await to.exec(['sh', '-c', `printf '${AS_OPENNEBULA}' >> /etc/libvirt/qemu.conf`]);
  await to.startLibvirtd();
  for (const host of [from, to]) await host.startAgent(t);
  for (const [at, firmware] of TABLE.entries()) {
    await t.test(firmware.name, async (t) => {
      const flash = async (path: string, kind: string): Promise<string> => {
        if (firmware.format === 'raw') return path;
        const image = `/var/lib/libvirt/${kind}.qcow2`;
        for (const host of [from, to]) {
          await runChecked('qemu-img', ['convert', '-O', 'qcow2', path, host.path(image)]);
          await chmod(host.path(image), 0o644);
        }
        return image;
      };
      const template = await flash(firmware.vars, 'vars');
      const code = await flash(firmware.code, 'code');
      const vars = `/var/lib/libvirt/qemu/nvram/${firmware.name}_VARS.fd`;
      const xml = xmlOf({ ...firmware, code }, at, vars, template);
      t.match(await from.take('define', xml), { status: 0 });
      if (firmware.format === 'qcow2' && !(await isTakenAs(from, firmware.name, 'qcow2'))) {
        t.comment('this libvirt knows raw flash alone, whatever the XML asks for');
        return;
      }
      await startPaused(from, firmware.name);
      await from.mustVirsh('destroy', firmware.name);
      const path = from.nvram(firmware.name);
      await mark(path);
      await startPaused(from, firmware.name);
      const { uid, mode } = await stat(path);
      await from.mustVirsh('destroy', firmware.name);
      const left = await readFile(path);
      t.ok(left.includes(MARK), 'the variable is in it');
      await from.mustVirsh('undefine', '--nvram', firmware.name);
      t.notOk(existsSync(path));
      const out = join(base, `restored-${firmware.name}`);
      t.match(await from.run('restore', uuidOf(at), '--to', out), { status: 0 });
      t.ok((await readFile(join(out, 'nvram/nvram.fd'))).equals(left), 'the volume has it');

      t.match(await to.take('define', xml), { status: 0 });
      await startPaused(to, firmware.name);
      const there = to.nvram(firmware.name);
      t.ok((await readFile(there)).equals(left), 'the same on the other host');
      t.match(await stat(there), { uid, mode }, "QEMU's own");
      await to.mustVirsh('destroy', firmware.name);
    });
  }
});
