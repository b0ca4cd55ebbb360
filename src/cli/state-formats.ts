/**
 * state-formats: the forms in which a domain's state leaves a share and comes back: `bundle`, `ovirt`, `metadata`.
 *
 * Whatever the form, what comes in is decoded whole and validated as if it were read from a host (G6).
 */
import { BUNDLE_BYTES_MAX, encodeBundle } from '../bundle/archive.js';
import { formatMetadataElement, parseMetadataElement } from '../bundle/metadata-element.js';
import { isSealed, type Sealing } from '../bundle/sealing.js';
import { decodeOvirt, encodeOvirt, OVIRT_TEXT_BYTES_MAX, type Compressor } from '../bundle/ovirt.js';
import type { Capture } from '../model/capture.js';
import { MirrorError } from '../model/errors.js';
import type { DomainUuid } from '../model/identifiers.js';
import { openForeignArchive, withShownIdentity } from '../volume/fetch.js';
import type { Generation } from '../volume/share-store.js';

export const STATE_FORMATS = ['bundle', 'ovirt', 'metadata'] as const;
export type StateFormat = (typeof STATE_FORMATS)[number];

/** Largest file of any form, bytes: a bundle in base64, with line breaks. */
export const STATE_FILE_FORM_BYTES_MAX = Math.max(2 * BUNDLE_BYTES_MAX, OVIRT_TEXT_BYTES_MAX);

export interface EncodedState {
  readonly data: Uint8Array;
  /** Where the form keeps it apart, the NVRAM. */
  readonly nvram?: Uint8Array | undefined;
}

export interface DecodedState {
  readonly capture: Capture;
  /** '' when the form does not tell it. */
  readonly domainName: string;
  /** Whose state it is; `undefined` when the form does not tell it. */
  readonly uuid: DomainUuid | undefined;
}

export async function encodeState(
  { manifest, capture, name }: Generation,
  format: StateFormat,
  compressor: Compressor,
): Promise<EncodedState> {
  if (format === 'ovirt') {
    const { tpm, nvram } = await encodeOvirt(capture, compressor);
    return { data: Buffer.from(tpm), nvram: nvram === undefined ? undefined : Buffer.from(nvram) };
  }
  // Out of its volume it stands in no log.
  const bundle = await encodeBundle({ ...manifest, slot: 0, epoch: 0, parent: 0 }, capture);
  if (format === 'bundle') return { data: bundle };
  return { data: Buffer.from(formatMetadataElement(bundle, manifest, name.slot)) };
}

/** The form that a file has, by its first bytes; `undefined` for one that is none of them. */
export function formatOf(data: Uint8Array): StateFormat | undefined {
  if ((data[0] === 0x1f && data[1] === 0x8b) || isSealed(data)) return 'bundle';
  const beginning = latin1(data.subarray(0, 64)).trimStart();
  if (beginning.startsWith('<')) return 'metadata';
  return /^(=.=)?[A-Za-z0-9+/=\s]+$/.test(beginning) ? 'ovirt' : undefined;
}

/**
 * @param uuid whose state it shall be; needed where the form does not tell it
 * @throws MirrorError `GENERATION_DAMAGED`, `STATE_INVALID`, `KEY_MISSING`, `SHARE_VERSION`, `USAGE`
 */
export async function decodeState(
  { data, nvram }: EncodedState,
  format: StateFormat,
  uuid: DomainUuid | undefined,
  { compressor, sealing }: { readonly compressor: Compressor; readonly sealing: Sealing | undefined },
): Promise<DecodedState> {
  if (format === 'ovirt') {
    if (uuid === undefined) {
      throw new MirrorError('USAGE', "oVirt's data does not say whose state it is", {
        next: 'give the UUID of the domain with --as',
      });
    }
    const text = { tpm: latin1(data), nvram: nvram && latin1(nvram) };
    return {
      capture: withShownIdentity(await decodeOvirt(uuid, text, compressor)),
      domainName: '',
      uuid: undefined,
    };
  }
  const bundle = format === 'bundle' ? data : parseMetadataElement(Buffer.from(data).toString('utf8'));
  const { capture, manifest } = await openForeignArchive({ sealing }, bundle);
  return {
    capture: { ...capture, uuid: uuid ?? manifest.uuid },
    domainName: manifest.name,
    uuid: manifest.uuid,
  };
}

function latin1(data: Uint8Array): string {
  return Buffer.from(data).toString('latin1');
}
