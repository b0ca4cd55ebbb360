/**
 * local-file-systems: file systems that nobody but this host writes to, by the magic numbers of
 * `statfs(2)`. One that is not listed counts as shared: there modes and owners prove nothing.
 */

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

/** @param type `f_type` of `statfs(2)` */
export function isLocalFileSystem(type: number): boolean {
  // Some kernels hand it over as a signed number.
  return LOCAL.has(type >>> 0);
}
