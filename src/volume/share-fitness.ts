/**
 * share-fitness: whether a share lies on something that it can lie on, by what `share-semantics.ts` knows.
 */
import { MirrorError } from '../model/errors.js';
import type { FileSystemSpace } from '../model/filesystem.js';
import { semanticsOf, type MountRule, type ShareSemantics } from '../model/share-semantics.js';

/** @throws MirrorError `SHARE_UNSUPPORTED` for a file system, or an option of its mount, that is known to lose state */
export function expectFitShare(
  root: string,
  { kind, mountOptions }: Pick<FileSystemSpace, 'kind' | 'mountOptions'>,
): ShareSemantics {
  const semantics = semanticsOf(kind);
  if (semantics.refusal !== undefined) {
    throw new MirrorError(
      'SHARE_UNSUPPORTED',
      `${root} lies on ${semantics.title}, which cannot be a share: ${semantics.refusal}`,
      {
        next: 'put the share on NFS or on a cluster file system; `docs/file-systems.md` lists what was tried',
      },
    );
  }
  const [bad] = refusedOptions(semantics, mountOptions);
  if (bad) {
    const kept = mountOptions.filter((option) => option !== bad.option).join(',');
    throw new MirrorError('SHARE_UNSUPPORTED', `${root} is mounted with \`${bad.option}\`: ${bad.why}`, {
      next: `mount it without that option; in /etc/fstab: \`${kept}\``,
    });
  }
  return semantics;
}

export function refusedOptions(
  { refusedOptions: rules }: ShareSemantics,
  mountOptions: readonly string[],
): MountRule[] {
  return rules.filter(({ option }) => mountOptions.includes(option));
}
