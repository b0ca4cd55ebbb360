/**
 * initramfs: the first root file system of a guest: busybox, and the kernel modules that reach the machine's own root file system.
 */
import { chmod, copyFile, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { runChecked } from '../../fixtures/process.js';

const MODULES = [
  'virtio_pci',
  'virtio_console',
  'virtio_blk',
  'virtio_net',
  'virtio_rng',
  'virtiofs',
  'overlay',
] as const;
const KERNEL = /^vmlinuz-(.+-cloud-amd64)$/;
const EXECUTABLE = 0o755;

export interface BootFiles {
  readonly kernel: string;
  readonly initramfs: string;
}

/**
 * @param init path of the script that becomes the guest's first process
 * @param directory where the archive is made
 */
export async function makeBootFiles(init: string, directory: string): Promise<BootFiles> {
  const release = await kernelRelease();
  const tree = join(directory, 'initramfs');
  await mkdir(join(tree, 'bin'), { recursive: true });
  await copyFile('/bin/busybox', join(tree, 'bin/busybox'));
  await copyFile(init, join(tree, 'init'));
  await chmod(join(tree, 'init'), EXECUTABLE);
  const modules = await moduleFiles(release);
  for (const file of modules) await copyFile(file, join(tree, basename(file)));
  await writeFile(join(tree, 'modules'), modules.map((file) => `${basename(file)}\n`).join(''));
  const initramfs = join(directory, 'initramfs.cpio');
  await runChecked('sh', ['-c', 'find . | cpio --quiet -o -H newc >"$0"', initramfs], { cwd: tree });
  await rm(tree, { recursive: true });
  return { kernel: `/boot/vmlinuz-${release}`, initramfs };
}

async function kernelRelease(): Promise<string> {
  const releases = (await readdir('/boot')).flatMap((name) => KERNEL.exec(name)?.[1] ?? []);
  const newest = releases.sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))[0];
  if (newest === undefined) throw new Error('no kernel for the guests in /boot: run `scripts/setup --lab`');
  return newest;
}

/** In the order in which they must be loaded, each once. */
async function moduleFiles(release: string): Promise<string[]> {
  const files = new Set<string>();
  for (const name of MODULES) {
    const output = await runChecked('modprobe', ['-S', release, '--show-depends', name]);
    for (const [, file] of output.toString().matchAll(/^insmod (\S+)/gm)) if (file) files.add(file);
  }
  return [...files];
}
