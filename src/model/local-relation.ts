/**
 * local-relation: how the state on this host's disk stands to the head of its volume.
 *
 * Two states of one TPM carry no order in themselves. What tells it, in falling certainty: equal content; content that was published
 * before; and, only when this host itself published the head, the times of the same files on the same disk. Clocks of
 * two hosts are never compared.
 *
 * I1 The TPM is judged by itself: an older TPM beside NVRAM that nobody has published is older. Only where
 *    the TPM is the head's own does the rest decide.
 */
import { compareStateFiles, isTpmRole, type StateFile } from './capture.js';
import { hasTpmOf, type GenerationName } from './generation-name.js';
import { tpmDigest } from './hash.js';

/** `older`: known to be from before the head. `newer`: known to be from after it. `unknown`: neither can be shown. */
export type LocalRelation = 'same' | 'older' | 'newer' | 'unknown';

type FileFacts = Pick<StateFile, 'role' | 'name' | 'sha256' | 'mtimeNs'>;

/** What a generation's name tells of its content. */
export type ContentOfName = Pick<GenerationName, 'digestPrefix' | 'tpmDigestPrefix'>;

export interface RelationFacts {
  readonly local: { readonly digest: string; readonly files: readonly FileFacts[] };
  readonly head: { readonly digest: string; readonly files: readonly FileFacts[]; readonly bootId: string };
  /** Whether this host published the head. */
  readonly headIsOwn: boolean;
  /** The published generations below the head. */
  readonly publishedBefore: readonly ContentOfName[];
  /** This boot of this host. */
  readonly bootId: string;
  /**
   * Since when files may have been written by a domain that started from a state nobody had judged: since this boot began, until this host
   * has held the volume in it.
   */
  readonly unjudgedSinceNs?: bigint | undefined;
}

export function relateToHead({
  local,
  head,
  headIsOwn,
  publishedBefore,
  bootId,
  unjudgedSinceNs,
}: RelationFacts): LocalRelation {
  if (local.digest === head.digest) return 'same';
  if (publishedBefore.some((name) => wasPublishedAs(name, local, head))) return 'older';
  if (!headIsOwn) return 'unknown';
  // Within one boot the page cache cannot go back in time, so what differs from our own head was written after it.
  if (bootId !== '' && bootId === head.bootId) return 'newer';
  const isTpm = ({ role }: FileFacts): boolean => isTpmRole(role);
  const relation =
    compareDiffering(local.files, head.files, isTpm) ?? compareDiffering(local.files, head.files, () => true);
  return relation === 'newer' && isUnjudged(local.files, unjudgedSinceNs)
    ? 'unknown'
    : (relation ?? 'unknown');
}

function wasPublishedAs(
  name: ContentOfName,
  local: RelationFacts['local'],
  head: RelationFacts['head'],
): boolean {
  const own = tpmDigest(local.files);
  if (own === tpmDigest(head.files)) return local.digest.startsWith(name.digestPrefix);
  return hasTpmOf(name, { digest: local.digest, tpmDigest: own });
}

/** A power loss can take a file back to before the head; what is written to it then is newer only by its time. */
function isUnjudged(files: readonly FileFacts[], sinceNs: bigint | undefined): boolean {
  return sinceNs !== undefined && files.some((file) => isTpmRole(file.role) && file.mtimeNs >= sinceNs);
}

/**
 * After a reboot a file that was never synced may be one from before the head; its own time shows it.
 *
 * @returns `undefined` when no file that both have differs
 */
function compareDiffering(
  local: readonly FileFacts[],
  head: readonly FileFacts[],
  among: (file: FileFacts) => boolean,
): LocalRelation | undefined {
  const verdicts = new Set<LocalRelation>();
  for (const file of local.filter(among)) {
    const other = head.find((candidate) => compareStateFiles(candidate, file) === 0);
    if (!other || other.sha256 === file.sha256) continue;
    verdicts.add(compareTime(file.mtimeNs, other.mtimeNs));
  }
  const [verdict, ...others] = verdicts;
  return others.length > 0 ? 'unknown' : verdict;
}

/** Two writes within one tick of the file system's clock have one time and no order. */
function compareTime(local: bigint, head: bigint): LocalRelation {
  if (local === head) return 'unknown';
  return local > head ? 'newer' : 'older';
}
