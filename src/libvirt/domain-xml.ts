/**
 * domain-xml: what this program needs to know of a domain, from its libvirt XML. Pure.
 *
 * The XML comes from outside and may hold secrets (a migration's does), so none of it ever stands in an error message.
 *
 * I1 Bounded work: the text's size and the depth of its elements have limits, and nothing is expanded but XML's own five entities and
 *    character references. A document type declaration, the way to every other entity, is refused.
 * I2 A value is read from its one place in the tree (`domain/uuid`, not any `uuid`), so that no other part can stand in for it.
 */
import { SaxesParser, type SaxesTagNS } from 'saxes';
import {
  METADATA_ELEMENT,
  METADATA_NAMESPACE as STATE_NAMESPACE,
  type CarriedState,
} from '../bundle/metadata-element.js';
import { MirrorError } from '../model/errors.js';
import { isDomainUuid, type DomainUuid } from '../model/identifiers.js';
import { readRunClaim, RUN_ELEMENT, RUN_NAMESPACE, type RunClaim } from '../model/run-claim.js';
import type { LocalStatePolicy } from '../model/restore-plan.js';
import type { NvramForm } from '../model/nvram.js';
import { plainPath } from '../model/plain-path.js';
import { DOMAIN_XML_LENGTH_MAX } from './hook-operation.js';

/** Where a domain's firmware variables lie. */
export type NvramPlace =
  | { readonly kind: 'none' }
  | { readonly kind: 'file'; readonly path: string; readonly form: NvramForm }
  /** They are where this program does not reach. */
  | { readonly kind: 'unsupported'; readonly form: NvramForm }
  /** libvirt chooses the firmware at every start, after the `prepare` hook, and names the file after the domain. */
  | { readonly kind: 'chosen-at-start'; readonly form: NvramForm };

export interface EmulatedTpm {
  readonly version: '1.2' | '2.0' | undefined;
  /** swtpm encrypts its state with a secret of libvirt's. */
  readonly encrypted: boolean;
  /** libvirt keeps the state of a domain that is undefined or transient. */
  readonly persistentState: boolean;
  /** A place of the state that the domain's owner chose, as it stands there: `domain-care` judges it. */
  readonly source: { readonly type: string; readonly path: string } | undefined;
}

export interface DomainXml {
  readonly uuid: DomainUuid;
  readonly name: string;
  readonly tpm: EmulatedTpm;
  readonly nvram: NvramPlace;
  /** False when the domain's own metadata asks to be left alone: `<mirror xmlns="urn:swtpm-mirror:domain" enabled="no"/>`. */
  readonly mirrored: boolean;
  /** Who is right where somebody else put a state in place: `<mirror xmlns="urn:swtpm-mirror:domain" local-state="manager"/>`. */
  readonly localState?: LocalStatePolicy;
  /** The domain's TPM state in its own metadata, as `export --format metadata` writes it. Secret, and as little to be believed as any of this. */
  readonly carried?: CarriedState;
  /** The claim of the run that this definition is, or once was, of. */
  readonly runClaim?: RunClaim;
}

const LOCAL_STATE_POLICIES: readonly LocalStatePolicy[] = ['refuse', 'share', 'manager'];

const DEPTH_MAX = 64;
/** A domain's name is a file name to libvirt; a record of this host must hold both. */
const NAME_BYTES_MAX = 255;
const PATH_BYTES_MAX = 1024;
const METADATA_NAMESPACE = 'urn:swtpm-mirror:domain';

/**
 * @returns `undefined` for a domain without an emulated TPM
 * @throws MirrorError `XML_INVALID`
 */
export function readDomainXml(xml: string): DomainXml | undefined {
  return readDomain(xml).domain;
}

/** Any domain. */
export interface AnyDomain {
  readonly uuid: DomainUuid;
  readonly name: string;
  /** `undefined` for one without an emulated TPM. */
  readonly domain: DomainXml | undefined;
  /** The type of a TPM of another kind, if it has one. */
  readonly otherTpm: string | undefined;
}

/** @throws MirrorError `XML_INVALID` */
export function readDomain(xml: string): AnyDomain {
  const found = read(xml);
  const named = nameOfDomain(found);
  const tpm = emulatedTpm(found);
  const carried = carriedState(found);
  const runClaim = readRunClaim(named.uuid, found.attributes(RUN));
  const localState = localStatePolicy(found);
  const domain = tpm && {
    ...named,
    tpm,
    nvram: nvramPlace(found),
    mirrored: isMirrored(found),
    ...(localState && { localState }),
    ...(carried && { carried }),
    ...(runClaim && { runClaim }),
  };
  return { ...named, domain, otherTpm: found.otherTpm };
}

function read(xml: string): Found {
  if (xml.length > DOMAIN_XML_LENGTH_MAX) {
    throw invalid(`it is longer than ${DOMAIN_XML_LENGTH_MAX} characters`);
  }
  return collect(xml);
}

function nameOfDomain(found: Found): Pick<DomainXml, 'uuid' | 'name'> {
  const uuid = found.text('domain/uuid').trim().toLowerCase();
  if (!isDomainUuid(uuid)) throw invalid('it has no valid domain/uuid');
  const name = found.text('domain/name');
  if (name === '' || Buffer.byteLength(name) > NAME_BYTES_MAX) {
    throw invalid(`domain/name has ${Buffer.byteLength(name)} bytes, expected 1 to ${NAME_BYTES_MAX}`);
  }
  return { uuid, name };
}

/** An element of the paths that matter; the text is complete when the document has ended. */
interface Element {
  readonly attributes: Readonly<Record<string, string>>;
  text: string;
}

const TPM = 'domain/devices/tpm';
const BACKEND = `${TPM}/backend`;
const NVRAM = 'domain/os/nvram';
const LOADER = 'domain/os/loader';
const VARSTORE = 'domain/os/varstore';
const METADATA = `domain/metadata/{${METADATA_NAMESPACE}}mirror`;
const CARRIED = `domain/metadata/{${STATE_NAMESPACE}}${METADATA_ELEMENT}`;
const RUN = `domain/metadata/{${RUN_NAMESPACE}}${RUN_ELEMENT}`;
const WANTED: ReadonlySet<string> = new Set([
  'domain/uuid',
  'domain/name',
  'domain/os',
  'domain/os/type',
  LOADER,
  NVRAM,
  VARSTORE,
  `${NVRAM}/source`,
  BACKEND,
  `${BACKEND}/encryption`,
  `${BACKEND}/source`,
  METADATA,
  CARRIED,
  RUN,
]);

/** The wanted elements of a document, by path. Of several at one path the first counts, as it does to libvirt. */
class Found {
  readonly #elements = new Map<string, Element>();
  /** Type of the first TPM that is not emulated. */
  otherTpm: string | undefined;

  /** @returns `undefined` for an element that does not count */
  add(path: string, attributes: Element['attributes']): Element | undefined {
    // A domain may have a TPM of another kind beside the emulated one.
    if (path === BACKEND && attributes['type'] !== 'emulator') {
      this.otherTpm ??= attributes['type'] ?? '';
      return undefined;
    }
    if (this.#elements.has(path)) return undefined;
    const element = { attributes, text: '' };
    this.#elements.set(path, element);
    return element;
  }

  has(path: string): boolean {
    return this.#elements.has(path);
  }

  text(path: string): string {
    return this.#elements.get(path)?.text ?? '';
  }

  attribute(path: string, name: string): string | undefined {
    return this.attributes(path)[name];
  }

  attributes(path: string): Element['attributes'] {
    return this.#elements.get(path)?.attributes ?? {};
  }
}

/** An open element: wanted and counting, or only passed through. */
interface Level {
  readonly path: string;
  readonly element: Element | undefined;
}

function collect(xml: string): Found {
  const found = new Found();
  const levels: Level[] = [];
  const parser = new SaxesParser({ xmlns: true });
  const append = (text: string): void => {
    const element = levels.at(-1)?.element;
    if (element) element.text += text;
  };
  parser.on('error', () => {
    throw invalid(`it is not well-formed at line ${parser.line}, column ${parser.column}`);
  });
  parser.on('doctype', () => {
    throw invalid('it has a document type declaration');
  });
  parser.on('opentag', (tag) => {
    if (levels.length === DEPTH_MAX) throw invalid(`its elements lie more than ${DEPTH_MAX} deep`);
    levels.push(enter(found, levels.at(-1), tag));
  });
  parser.on('closetag', () => {
    levels.pop();
  });
  parser.on('text', append);
  parser.on('cdata', append);
  parser.write(xml).close();
  return found;
}

function enter(found: Found, parent: Level | undefined, tag: SaxesTagNS): Level {
  const path = parent ? `${parent.path}/${nameOf(tag)}` : nameOf(tag);
  const parentCounts = parent === undefined || parent.element !== undefined || !WANTED.has(parent.path);
  return { path, element: parentCounts && WANTED.has(path) ? found.add(path, attributesOf(tag)) : undefined };
}

/** libvirt's own elements have no namespace. */
function nameOf({ uri, local }: SaxesTagNS): string {
  return uri === '' ? local : `{${uri}}${local}`;
}

function attributesOf({ attributes }: SaxesTagNS): Element['attributes'] {
  return Object.fromEntries(Object.values(attributes).map(({ name, value }) => [name, value]));
}

function emulatedTpm(found: Found): EmulatedTpm | undefined {
  if (!found.has(BACKEND)) return undefined;
  const version = found.attribute(BACKEND, 'version');
  const type = found.attribute(`${BACKEND}/source`, 'type');
  return {
    version: version === '1.2' || version === '2.0' ? version : undefined,
    encrypted: found.has(`${BACKEND}/encryption`),
    persistentState: found.attribute(BACKEND, 'persistent_state') === 'yes',
    source:
      type === undefined ? undefined : { type, path: found.attribute(`${BACKEND}/source`, 'path') ?? '' },
  };
}

/**
 * What libvirt does with each form: its `qemu_firmware.c`. A loader that is named and takes no variables of its own (`rom`, writable,
 * stateless) has none; one that is named with `firmware='efi'` and without a path of its variables is one for which libvirt knows none.
 */
function nvramPlace(found: Found): NvramPlace {
  if (found.has(VARSTORE)) return varstorePlace(found);
  const loader = (name: string): string | undefined => found.attribute(LOADER, name);
  if (loader('stateless') === 'yes') return { kind: 'none' };
  const form = nvramForm(found);
  const type = found.attribute(NVRAM, 'type') ?? 'file';
  const source = (name: string): string => found.attribute(`${NVRAM}/source`, name) ?? '';
  if (type !== 'file' && type !== 'block') return unsupported(form, `on a ${type} disk`);
  const path = type === 'block' ? source('dev') : source('file') || found.text(NVRAM);
  if (path.trim() !== '') return fileAt(path, { ...form, device: type === 'block' });
  if (found.attribute('domain/os', 'firmware') !== 'efi' || type === 'block') return { kind: 'none' };
  const hasNone = loader('type') === 'rom' || loader('readonly') === 'no' || found.text(LOADER).trim() !== '';
  return hasNone ? { kind: 'none' } : { kind: 'chosen-at-start', form };
}

function varstorePlace(found: Found): NvramPlace {
  const template = found.attribute(VARSTORE, 'template');
  const form: NvramForm = { role: 'varstore', format: 'json', device: false, ...(template && { template }) };
  const path = found.attribute(VARSTORE, 'path') ?? '';
  return path.trim() === '' ? { kind: 'none' } : fileAt(path, form);
}

function nvramForm(found: Found): NvramForm {
  const named = found.attribute(NVRAM, 'format') ?? found.attribute(LOADER, 'format');
  // Before libvirt 8.5 there was no format but raw.
  const isQcow2Name = (found.attribute(`${NVRAM}/source`, 'file') ?? found.text(NVRAM))
    .trim()
    .endsWith('.qcow2');
  const template = found.attribute(NVRAM, 'template');
  const loader = found.text(LOADER).trim();
  const arch = found.attribute('domain/os/type', 'arch');
  return {
    role: 'nvram',
    format: named === 'qcow2' || (named === undefined && isQcow2Name) ? 'qcow2' : 'raw',
    device: false,
    ...(template !== undefined && { template }),
    ...(loader !== '' && { loader }),
    ...(arch !== undefined && { arch }),
  };
}

/** Whatever is wrong with its path, the TPM is not to suffer for it. */
function fileAt(text: string, form: NvramForm): NvramPlace {
  const path = plainPath(text);
  return path === undefined || Buffer.byteLength(path) > PATH_BYTES_MAX
    ? unsupported(form, 'at a path that is not absolute, or has "." or ".." in it')
    : { kind: 'file', path, form };
}

function unsupported(form: NvramForm, why: string): NvramPlace {
  return { kind: 'unsupported', form: { ...form, unsupported: why } };
}

function isMirrored(found: Found): boolean {
  const enabled = found.attribute(METADATA, 'enabled');
  if (enabled === undefined || enabled === 'yes') return true;
  if (enabled === 'no') return false;
  throw invalid(
    `the attribute "enabled" of <mirror xmlns="${METADATA_NAMESPACE}"> is neither "yes" nor "no"`,
  );
}

function localStatePolicy(found: Found): LocalStatePolicy | undefined {
  const text = found.attribute(METADATA, 'local-state');
  if (text === undefined) return undefined;
  const policy = LOCAL_STATE_POLICIES.find((each) => each === text);
  if (policy) return policy;
  const expected = LOCAL_STATE_POLICIES.map((each) => `"${each}"`).join(', ');
  throw invalid(
    `the attribute "local-state" of <mirror xmlns="${METADATA_NAMESPACE}"> is none of ${expected}`,
  );
}

function carriedState(found: Found): CarriedState | undefined {
  if (!found.has(CARRIED)) return undefined;
  return { encoding: found.attribute(CARRIED, 'encoding') ?? '', text: found.text(CARRIED) };
}

function invalid(why: string): MirrorError {
  return new MirrorError('XML_INVALID', `cannot use the domain's XML: ${why}`, {
    next: 'look at `virsh dumpxml` of the domain; the hook takes what libvirt gives it on its standard input',
  });
}
