/**
 * mount-table: where a path is mounted from, by the kernel's table (`/proc/self/mountinfo`). Pure: nothing of the mount is touched, so a share that hangs
 * can be looked up.
 *
 *   36 35 0:27 /root /mount/point rw,noatime shared:1 - nfs4 server:/export rw,vers=4.2,hard
 */
export interface Mount {
  readonly mountPoint: string;
  /** `nfs4`, `ext4`, … */
  readonly type: string;
  /** `server:/export`, or a device. */
  readonly source: string;
  /** Of the mount and of its file system, such as `rw`, `hard`, `vers=4.2`. */
  readonly options: ReadonlySet<string>;
}

/** @returns the mount that `path` lies in; `undefined` when the table has none */
export function mountOf(mountInfo: string, path: string): Mount | undefined {
  let found: Mount | undefined;
  for (const line of mountInfo.split('\n')) {
    const mount = parseLine(line);
    if (!mount || !isBelow(path, mount.mountPoint)) continue;
    // Of two at one place the later lies on top.
    if (!found || mount.mountPoint.length >= found.mountPoint.length) found = mount;
  }
  return found;
}

function parseLine(line: string): Mount | undefined {
  const [place = '', system] = line.split(' - ');
  const [, , , , mountPoint, own = ''] = place.split(' ');
  if (mountPoint === undefined || system === undefined) return undefined;
  const [type = '', source = '', shared = ''] = system.split(' ');
  const options = new Set([...own.split(','), ...shared.split(',')]);
  return { mountPoint: unescaped(mountPoint), type, source: unescaped(source), options };
}

/** The kernel writes blanks, tabs, line ends and backslashes as three octal digits. */
function unescaped(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}

function isBelow(path: string, mountPoint: string): boolean {
  return path === mountPoint || path.startsWith(mountPoint === '/' ? '/' : `${mountPoint}/`);
}
