/**
 * local-file-systems: file systems that nobody but this host writes to, by the magic numbers of
 * `statfs(2)`. One that is not listed counts as shared: there modes and owners prove nothing.
 *
 * The mount table tells most of the shared ones first, so that no server is asked what it is.
 */
import * as fs from 'node:fs';
import { descriptorPath, result, statfsAt } from './node-calls.js';

const LOCAL: ReadonlySet<number> = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // xfs
  0x9123683e, // btrfs
  0xca451a4e, // bcachefs
  0x2fc12fc1, // zfs
  0xf2f52010, // f2fs
  0x3153464a, // jfs
  0x52654973, // reiserfs
  0x3434, // nilfs2
  0x01021994, // tmpfs, devtmpfs
  0x858458f6, // ramfs
  0x794c7630, // overlay
  0x61756673, // aufs
  0x73717368, // squashfs
  0xe0f5e1e2, // erofs
  0x9660, // iso9660
  0x9fa0, // proc
  0x62656572, // sysfs
]);

/** As the mount table names file systems whose `statfs` may be a request to somebody else. */
const SHARED = /^(nfs|ceph|cifs|smb|fuse|9p|virtiofs|afs|lustre|beegfs|gpfs|ocfs2|gfs2|orangefs|coda)/;
const MOUNT_TABLE = '/proc/self/mountinfo';

/** Whether an open directory lies where no other host writes. */
export async function isOnThisHost(descriptor: number): Promise<boolean> {
  if (SHARED.test(await mountedAs(descriptor))) return false;
  return isLocalFileSystem((await statfsAt(descriptorPath(descriptor))).type);
}

/** The file system's name in the mount table; empty where that does not tell. */
async function mountedAs(descriptor: number): Promise<string> {
  const about = await readText(`/proc/self/fdinfo/${String(descriptor)}`);
  const id = /^mnt_id:\s*(\d+)$/m.exec(about)?.[1];
  if (id === undefined) return '';
  const lines = (await readText(MOUNT_TABLE)).split('\n');
  const [, system = ''] = lines.find((line) => line.startsWith(`${id} `))?.split(' - ') ?? [];
  return system.split(' ')[0] ?? '';
}

function readText(path: string): Promise<string> {
  return result<string>((done) => {
    fs.readFile(path, 'utf8', done);
  }).catch(() => '');
}

/** @param type `f_type` of `statfs(2)` */
export function isLocalFileSystem(type: number): boolean {
  // Some kernels hand it over as a signed number.
  return LOCAL.has(type >>> 0);
}
