/**
 * share-semantics: what each file system gives to a share, and what it needs of whoever mounts it.
 *
 * Everything in this program that is right on one file system and wrong on another is asked here.
 * What was tried, and how, is in `docs/file-systems.md`. Pure.
 */

/** What a share can lie on. `local`: a disk of this host, which no other host sees. */
export type FileSystemKind =
  | 'nfs'
  | 'ceph'
  | 'ceph-fuse'
  | 'glusterfs'
  | 'moosefs'
  | 'ocfs2'
  | 'gfs2'
  | 'local'
  | 'smb'
  | 'sshfs'
  | 'object-store'
  | 'unknown';

/** A mount option, and what it does to a share. */
export interface MountRule {
  readonly option: string;
  readonly why: string;
}

export interface ShareSemantics {
  readonly kind: FileSystemKind;
  /** As people call it. */
  readonly title: string;
  /** `tried`: with real hosts and servers · `unknown`: nobody has · `refused`: what was tried loses state. */
  readonly standing: 'tried' | 'unknown' | 'refused';
  /**
   * Whose clock a file's time is of. `server`: one clock for all hosts, so that the difference of two
   * files' times is an age. `writer`: the host's that wrote it, or nobody knows: no age can be told.
   */
  readonly timeSource: 'server' | 'writer';
  /** `on-return`: a directory operation is as durable as it gets when it returns; `fsync`: after fsync. */
  readonly directoryDurable: 'on-return' | 'fsync';
  readonly refusedOptions: readonly MountRule[];
  /** What no mount shows and the storage needs. */
  readonly needs: readonly string[];
  /** Of a refused one: why. */
  readonly refusal?: string;
}

const PLAIN = {
  standing: 'tried',
  timeSource: 'writer',
  directoryDurable: 'fsync',
  refusedOptions: [],
  needs: [],
} as const;

const NO_LINKS =
  'it has no symbolic links of its own, or none that only one host can make, and every commit is one';

const TABLE: Readonly<Record<FileSystemKind, ShareSemantics>> = {
  nfs: {
    ...PLAIN,
    kind: 'nfs',
    title: 'NFS',
    timeSource: 'server',
    directoryDurable: 'on-return',
    refusedOptions: [
      {
        option: 'nocto',
        why: 'opening a file does not ask the server, so that a living host looks dead',
      },
    ],
    needs: [
      'the export is `sync`, or what was acknowledged is lost when the server loses power',
      'behind NFS-Ganesha the exported file system is mounted `dirsync`: Ganesha syncs no directory',
    ],
  },
  ceph: {
    ...PLAIN,
    kind: 'ceph',
    title: 'CephFS',
    needs: ['`ceph fs set NAME session_timeout 30`: until then a dead host’s open files hold up the others'],
  },
  'ceph-fuse': {
    ...PLAIN,
    kind: 'ceph-fuse',
    title: 'CephFS by ceph-fuse',
    needs: ['`ceph fs set NAME session_timeout 30`: until then a dead host’s open files hold up the others'],
  },
  glusterfs: {
    ...PLAIN,
    kind: 'glusterfs',
    title: 'GlusterFS',
    needs: [
      'a volume of one brick: in replicated ones the log of a contended volume ended in split-brain',
      '`performance.stat-prefetch`, `performance.open-behind` and `performance.quick-read` off, and the mount options `entry-timeout=0,attribute-timeout=0`',
      'the brick lies on a file system that is mounted `dirsync`: Gluster syncs no directory',
    ],
  },
  moosefs: {
    ...PLAIN,
    kind: 'moosefs',
    title: 'MooseFS',
    needs: [
      '`CHANGELOG_SAVE_MODE = 2` on the master and `HDD_FSYNC_BEFORE_CLOSE = 1` on the chunk servers',
      'the mount options `mfsattrcacheto=0,mfsentrycacheto=0,mfsdirentrycacheto=0,mfsnegentrycacheto=0`',
    ],
  },
  ocfs2: { ...PLAIN, kind: 'ocfs2', title: 'OCFS2' },
  gfs2: { ...PLAIN, kind: 'gfs2', title: 'GFS2', standing: 'unknown' },
  local: { ...PLAIN, kind: 'local', title: 'a disk of this host', timeSource: 'server' },
  smb: { ...PLAIN, kind: 'smb', title: 'SMB', standing: 'refused', refusal: NO_LINKS },
  sshfs: {
    ...PLAIN,
    kind: 'sshfs',
    title: 'sshfs',
    standing: 'refused',
    refusal: 'a taken name is told as another error, and nothing is ever synced',
  },
  'object-store': {
    ...PLAIN,
    kind: 'object-store',
    title: 'an object store',
    standing: 'refused',
    refusal: 'it has neither exclusive names nor renames',
  },
  unknown: { ...PLAIN, kind: 'unknown', title: 'an unknown file system', standing: 'unknown' },
};

/** By the magic number of `statfs(2)`. */
const BY_MAGIC: ReadonlyMap<number, FileSystemKind> = new Map([
  [0x6969, 'nfs'],
  [0x00c36400, 'ceph'],
  [0x7461636f, 'ocfs2'],
  [0x01161970, 'gfs2'],
  [0xff534d42, 'smb'],
  [0xfe534d42, 'smb'],
  [0x517b, 'smb'],
  [0xef53, 'local'],
  [0x58465342, 'local'],
  [0x9123683e, 'local'],
  [0x01021994, 'local'],
  [0x858458f6, 'local'],
  [0x794c7630, 'local'],
  [0x2fc12fc1, 'local'],
  [0xf2f52010, 'local'],
  [0xca451a4e, 'local'],
]);

const FUSE_MAGIC = 0x65735546;

/** By the type that `/proc/self/mountinfo` tells, of what FUSE serves: all of it has one magic number. */
const BY_FUSE_TYPE: readonly (readonly [RegExp, FileSystemKind])[] = [
  [/^fuse\.ceph/, 'ceph-fuse'],
  [/^fuse\.glusterfs$/, 'glusterfs'],
  [/^fuse\.(mfs|moosefs)/, 'moosefs'],
  [/^fuse\.sshfs$/, 'sshfs'],
  [/^fuse\.(s3fs|rclone|goofys|gcsfuse|geesefs|juicefs|mount-s3)$/, 'object-store'],
  [/^fuse\.smb/, 'smb'],
];

/** @param type as the mount table has it; needed for FUSE alone */
export function fileSystemKind(magic: number, type = ''): FileSystemKind {
  if (unsigned(magic) === FUSE_MAGIC) {
    return BY_FUSE_TYPE.find(([pattern]) => pattern.test(type))?.[1] ?? 'unknown';
  }
  return BY_MAGIC.get(unsigned(magic)) ?? 'unknown';
}

/** Some kernels tell it as a signed number. */
function unsigned(magic: number): number {
  return magic >>> 0;
}

export function semanticsOf(kind: FileSystemKind): ShareSemantics {
  return TABLE[kind];
}
