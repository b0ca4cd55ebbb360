/**
 * remember-share: the first share that this host works with is the one that it belongs to. From then on another one in its place is refused: there every
 * VM would seem to have no state.
 */
import type { AgentContext } from './agent-context.js';

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
