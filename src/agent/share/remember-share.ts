/**
 * remember-share: the first share that this host works with is the one that it belongs to. From then on another one in its place is refused: there every
 * VM would seem to have no state.
 */
import type { JournalRecord } from '../../host/journal-record.js';
import { MirrorError } from '../../model/errors.js';
import type { AgentContext } from '../agent-context.js';

/**
 * @returns the id of the share that this host knows from now on
 * @throws MirrorError `SHARE_*`, `JOURNAL_DAMAGED`, `HOST_IO`: none is remembered then
 */
export async function rememberShare({
  share,
  knownShare,
}: Pick<AgentContext, 'share' | 'knownShare'>): Promise<string> {
  const known = await knownShare.read();
  if (known !== undefined) return known;
  const { id } = await share.identify({});
  await knownShare.write(id);
  return id;
}

/** What this host knows of a domain speaks of another share than the one that it works with now. */
export function ofAnotherShare(
  { uuid, shareId }: Pick<JournalRecord, 'uuid' | 'shareId'>,
  shareOfHost: string,
): MirrorError | undefined {
  if (shareId === null || shareId === shareOfHost) return undefined;
  return new MirrorError(
    'SHARE_WRONG',
    `this host works with share ${shareOfHost}, but what it knows of ${uuid} belongs to share ${shareId}`,
    {
      next: `mount that one again; if this host was moved on purpose, \`swtpm-mirror resolve ${uuid} --keep local\` goes on with this host's state, \`--keep head\` with the present share's`,
    },
  );
}
