/**
 * nfs-server: the guest that exports the share with the kernel's NFS server, from an ext4 disk that outlives its power.
 */
import type { VirtualMachine } from './virtual-machine.js';

/** `main`: as it should be; `squash`: root is nobody, and the directory belongs to an ordinary user; `async`: acknowledges what is not on its disk. */
export type ExportName = 'main' | 'squash' | 'async';

export const EXPORT_ROOT = '/local/export';
/** Each directory of it is mounted below the export root: version 4 finds an export where a mount begins. */
export const DATA = '/local/data';
/** Who owns the squashed export. */
export const SQUASH_OWNER = 36;
/** How long clients may reclaim after a restart; the kernel's default is 90 s. */
const GRACE_SECONDS = 10;
const BALLAST = '/local/ballast';
/** The process group of what fills the disk: one of it that was left could fill it once more. */
const FILLER = '/run/filler';

/** The root of what version 4 shows; the guest's own root file system cannot be exported. */
const EXPORTS: Readonly<Record<ExportName | '', string>> = {
  '': 'ro,fsid=0,no_subtree_check',
  main: 'rw,sync,no_root_squash,no_subtree_check,fsid=1',
  squash: 'rw,sync,root_squash,no_subtree_check,fsid=2',
  async: 'rw,async,no_root_squash,no_subtree_check,fsid=3',
};

export class NfsServer {
  readonly machine: VirtualMachine;

  constructor(machine: VirtualMachine) {
    this.machine = machine;
  }

  /** After every power-on. */
  async serve(): Promise<void> {
    await this.machine.shell.run(`
      ${[1, 2].map((host) => `ip addr add 10.0.${host}.1/24 dev eth${host - 1}; ip link set eth${host - 1} up`).join('\n')}
      mkdir -p ${EXPORT_ROOT}/{main,squash,async} ${DATA}/{main,squash,async} /local/nfs/v4recovery
      chown ${SQUASH_OWNER}:${SQUASH_OWNER} ${DATA}/squash
      for name in main squash async; do mount --bind ${DATA}/$name ${EXPORT_ROOT}/$name; done
      mount --bind /local/nfs /var/lib/nfs
      touch /var/lib/nfs/{etab,rmtab}
      modprobe nfsd
      mount -t nfsd nfsd /proc/fs/nfsd
      echo ${GRACE_SECONDS} >/proc/fs/nfsd/nfsv4gracetime
      echo ${GRACE_SECONDS} >/proc/fs/nfsd/nfsv4leasetime
      cat >/etc/exports <<'TABLE'
${Object.entries(EXPORTS)
  .map(([name, options]) => `${EXPORT_ROOT}/${name} *(${options})`)
  .join('\n')}
TABLE
      rpcbind
      exportfs -r
      rpc.mountd --port 20048
      rpc.nfsd 4
      (( $(</proc/fs/nfsd/threads) > 0 ))
      # Nobody has anything to reclaim from a server that no client is known to; where the kernel has found that out by itself it refuses.
      [[ -n $(ls /local/nfs/v4recovery) ]] || echo Y >/proc/fs/nfsd/v4_end_grace || true
    `);
  }

  /** Takes every byte that the disk has left, and whatever becomes free. */
  async fillDisk(): Promise<void> {
    await this.machine.shell.run(`
      setsid bash -c 'while :; do cat /dev/zero >>${BALLAST}; sync ${BALLAST}; sleep 0.2; done' >/dev/null 2>&1 &
      echo $! >${FILLER}
    `);
    await this.machine.shell.run(`until (( $(stat -f -c %a ${DATA}) == 0 )); do sleep 0.1; done`);
  }

  async freeDisk(): Promise<void> {
    await this.machine.shell.run(`
      if [[ -f ${FILLER} ]]; then kill -KILL -- "-$(<${FILLER})" || true; rm -f ${FILLER} ${BALLAST}; sync; fi
    `);
  }

  /** An empty directory takes the place of the exported one, as where the server's disk is not mounted: of another file system. */
  async emptyExport(): Promise<void> {
    await this.#export('-t tmpfs tmpfs');
  }

  /** What clients put into the directory that was empty. */
  async exported(): Promise<string> {
    return await this.machine.shell.run(`find ${EXPORT_ROOT}/main -mindepth 1`);
  }

  /** With a change in it: a client takes a name that it missed meanwhile for missing until the directory has changed. */
  async bringExportBack(): Promise<void> {
    await this.#export(`--bind ${DATA}/main`);
    await this.machine.shell.run(`touch ${DATA}/main`);
  }

  async tidy(): Promise<void> {
    await this.freeDisk();
    await this.machine.shell.run(
      'printf "qdisc del dev eth%d root\\n" 0 1 | tc -force -batch - 2>/dev/null || true',
    );
  }

  async #export(what: string): Promise<void> {
    const place = `${EXPORT_ROOT}/main`;
    await this.machine.shell.run(`
      exportfs -ua; exportfs -f
      # Whatever its clients have open there stays with the server.
      umount --lazy ${place}
      mount ${what} ${place}
      exportfs -r; exportfs -f
    `);
  }
}
