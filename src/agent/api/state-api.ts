/**
 * state-api: a domain's state as an engine pulls it: its hash alone, its data, or its XML with the data.
 *
 * Data goes out only to a caller that does not have it: one that tells the digest it knows gets it when that is out of date.
 */
import { mustVirsh } from '../../libvirt/virsh-adapter.js';
import type { Capture } from '../../model/capture.js';
import type { AgentContext } from '../agent-context.js';
import type { Replicator } from '../domain/replicator.js';

export interface StateHash {
  /** 64 hexadecimal digits: equal digests are equal states. */
  readonly digest: string;
  /** Slot of the newest state on the share; 0 for none. */
  readonly generation: number;
  /** Whether the share has this very state. */
  readonly published: boolean;
}

export interface StateFileBody {
  readonly role: string;
  readonly name: string;
  readonly mode: number;
  readonly sha256: string;
  /** base64 */
  readonly data: string;
}

/** `files` is missing when the caller knows them. */
export type StateBody = StateHash & { readonly files?: readonly StateFileBody[] };

const DIGEST_DIGITS = 64;
const VIRSH_DEADLINE_MS = 10_000;

/**
 * The hash of the newest state that was captured. No file is read unless nothing was captured since this program runs.
 *
 * @throws MirrorError `NO_STATE`, `STATE_INVALID`, `STATE_UNSTABLE`, `HOST_IO`
 */
export async function stateHash(context: AgentContext, replicator: Replicator): Promise<StateHash> {
  const { pending, published } = replicator.state;
  const known = pending?.digest ?? published?.digest;
  const digest = known?.length === DIGEST_DIGITS ? known : (await capture(context, replicator)).digest;
  return hashOf(digest, replicator);
}

/** The state as it is now. @param known the digest that the caller has the data of */
export async function stateBody(
  context: AgentContext,
  replicator: Replicator,
  known: string | undefined,
): Promise<StateBody> {
  const { digest, files } = await capture(context, replicator);
  const hash = hashOf(digest, replicator);
  if (digest === known) return hash;
  return {
    ...hash,
    files: files.map(({ role, name, mode, sha256, data }) => ({
      role,
      name,
      mode,
      sha256,
      data: Buffer.from(data).toString('base64'),
    })),
  };
}

/**
 * The domain's XML, as libvirt gives it to anybody, with the state beside it.
 *
 * @throws MirrorError `LIBVIRT_FAILED`, and what `stateBody` throws
 */
export async function dump(
  context: AgentContext,
  replicator: Replicator,
  known: string | undefined,
): Promise<StateBody & { readonly xml: string }> {
  const virsh = { uri: context.config.libvirt.uri, deadlineMs: VIRSH_DEADLINE_MS };
  const xml = await mustVirsh(virsh, ['dumpxml', '--domain', replicator.uuid]);
  return { xml, ...(await stateBody(context, replicator, known)) };
}

async function capture({ files }: AgentContext, { place, state }: Replicator): Promise<Capture> {
  return await files.read(place, state.run !== 'running');
}

function hashOf(digest: string, { state }: Replicator): StateHash {
  const { published } = state;
  const isPublished = published !== undefined && digest.startsWith(published.digest);
  return { digest, generation: published?.slot ?? 0, published: isPublished };
}
