/**
 * metadata-element: a bundle as an element for libvirt's `<metadata>`, so that a domain's XML can carry its TPM.
 *
 *   <tpm:state xmlns:tpm="urn:swtpm-mirror:1" uuid="…" generation="43" sha256="…" encoding="tar.gz+base64">H4sI…</tpm:state>
 *
 * The text is the whole bundle; the attributes repeat what its manifest says, for those who only look.
 */
import { SaxesParser } from 'saxes';
import { MirrorError } from '../model/errors.js';
import type { Manifest } from './manifest.js';

export const METADATA_NAMESPACE = 'urn:swtpm-mirror:1';
export const METADATA_ELEMENT = 'state';
const ENCODING = 'tar.gz+base64';
const LINE_CHARACTERS = 76;
/** As deep as libvirt's own elements ever lie, and some: namespaces are looked up through all levels. */
const DEPTH_MAX = 64;

/** Such an element as it was found, neither decoded nor believed. */
export interface CarriedState {
  /** '' when it names none. */
  readonly encoding: string;
  readonly text: string;
}

/** @param generation the slot that the state has in its volume */
export function formatMetadataElement(
  bundle: Uint8Array,
  { uuid, digest }: Pick<Manifest, 'uuid' | 'digest'>,
  generation: number,
): string {
  const lines =
    Buffer.from(bundle)
      .toString('base64')
      .match(new RegExp(`.{1,${LINE_CHARACTERS}}`, 'g')) ?? [];
  const attributes = `uuid="${uuid}" generation="${generation}" sha256="${digest}" encoding="${ENCODING}"`;
  return `<tpm:state xmlns:tpm="${METADATA_NAMESPACE}" ${attributes}>\n${lines.join('\n')}\n</tpm:state>\n`;
}

/**
 * The bundle in the first such element of a document: the element itself, or a domain's XML with it.
 *
 * @throws MirrorError `GENERATION_DAMAGED` when there is none, or it is not what `formatMetadataElement` writes
 */
export function parseMetadataElement(xml: string): Uint8Array {
  let depth = 0;
  let level = 0;
  let text: string | undefined;
  let encoding = '';
  const parser = new SaxesParser({ xmlns: true });
  parser.on('error', () => {
    throw damaged('it is not well-formed XML');
  });
  // Here rather than at `opentag`, which comes after the work that depth makes long.
  parser.on('opentagstart', () => {
    if (++level > DEPTH_MAX) throw damaged(`its elements lie more than ${DEPTH_MAX} deep`);
  });
  parser.on('opentag', ({ uri, local, attributes }) => {
    if (depth > 0) depth++;
    else if (text === undefined && uri === METADATA_NAMESPACE && local === METADATA_ELEMENT) {
      depth = 1;
      text = '';
      encoding = attributes['encoding']?.value ?? '';
    }
  });
  parser.on('text', (part) => {
    if (depth === 1) text = `${text ?? ''}${part}`;
  });
  parser.on('closetag', () => {
    level--;
    if (depth > 0) depth--;
  });
  parser.write(xml).close();
  if (text === undefined) throw damaged(`it has no element "state" of ${METADATA_NAMESPACE}`);
  return decodeMetadataText({ encoding, text });
}

/**
 * The bundle in an element.
 *
 * @throws MirrorError `GENERATION_DAMAGED` when it is not what `formatMetadataElement` writes
 */
export function decodeMetadataText({ encoding, text }: CarriedState): Uint8Array {
  if (encoding !== ENCODING) throw damaged(`its encoding is not ${ENCODING}`);
  const base64 = text.replaceAll(/\s/g, '');
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) throw damaged('its content is not base64');
  return Buffer.from(base64, 'base64');
}

function damaged(fault: string): MirrorError {
  return new MirrorError('GENERATION_DAMAGED', `cannot read the metadata element: ${fault}`, {
    next: 'give the element as `swtpm-mirror export --format metadata` wrote it',
  });
}
