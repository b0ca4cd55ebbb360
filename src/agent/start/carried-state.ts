/**
 * carried-state: a state that a domain's own definition carries in its metadata, read for a domain of which nothing else is left.
 *
 * A definition comes from anywhere and is copied with all that it holds. So nothing of what it carries is believed: it is decoded and validated as any
 * state is (G6), and one that is another domain's is refused, or a copied definition would give two domains one TPM.
 */
import { decodeMetadataText, type CarriedState } from '../../bundle/metadata-element.js';
import type { Manifest } from '../../bundle/manifest.js';
import type { Capture } from '../../model/capture.js';
import { asMirrorError, MirrorError } from '../../model/errors.js';
import type { DomainUuid } from '../../model/identifiers.js';
import { openForeignArchive } from '../../volume/fetch.js';

export type CarriedReading =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'whole';
      readonly capture: Capture;
      /** Where and when it was stored first, as it says itself. */
      readonly origin: Pick<Manifest, 'host' | 'time'>;
    }
  | { readonly kind: 'unusable'; readonly error: MirrorError };

/** Never fails: what cannot be used is an answer, too. */
export async function readCarried(
  uuid: DomainUuid,
  carried: CarriedState | undefined,
): Promise<CarriedReading> {
  if (!carried) return { kind: 'none' };
  try {
    // Encrypted data is for other hands than this host's start: `import` has the keys.
    const { capture, manifest } = await openForeignArchive(
      { sealing: undefined },
      decodeMetadataText(carried),
    );
    if (manifest.uuid !== uuid) throw anotherDomains(manifest.uuid);
    return { kind: 'whole', capture, origin: manifest };
  } catch (error) {
    return { kind: 'unusable', error: asMirrorError(error) };
  }
}

function anotherDomains(uuid: DomainUuid): MirrorError {
  return new MirrorError('CARRIED_INVALID', `it is the TPM of another domain, ${uuid}`, {
    next: 'give each domain a TPM of its own',
  });
}

/** The domain starts with what its definition carries. */
export function carriedUsed(uuid: DomainUuid, { host, time }: Pick<Manifest, 'host' | 'time'>): MirrorError {
  return new MirrorError(
    'CARRIED_USED',
    `${uuid} was started with the TPM state that its definition carries, which ${host} stored at ${time}: there was no other`,
    {
      next: `if a newer state exists anywhere, stop the domain and bring that one back; the definition still holds the TPM's secrets: \`virsh metadata ${uuid} urn:swtpm-mirror:1 --config --remove\``,
    },
  );
}
