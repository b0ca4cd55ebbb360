/**
 * resolve: `swtpm-mirror resolve DOMAIN --keep head|local|diverged`: the operator's choice where a start was refused because the plan would not choose.
 *
 *   head       the volume's head stays; this host's state becomes a diverged copy, and the head lies in its place
 *   local      this host's state becomes the head; the head before is kept as a snapshot
 *   diverged   a diverged copy becomes the head, and lies in the place of this host's state, which becomes a diverged copy
 *
 *   P1 look    the domain has stopped, everywhere, and nothing of it waits in this host's spool
 *   P2 keep    what is not chosen is durable on the share, before anything takes its place
 *   P3 choose  the head, then this host's directory (what `restore` replaces is set aside, too)
 *   P4 forget  what this host's journal knew: it spoke for another choice
 *
 * I2 (G6) What is not known to be whole never becomes the head: it stays, or is set aside as it is.
 * I1 A failure leaves both states where they are, or where P2 put them; told again, it goes on.
 */
import { Option, type Command } from 'commander';
import { domainPlace, type DomainPlace } from '../agent/domain-place.js';
import { publishNote } from '../agent/share/publish-note.js';
import type { Capture } from '../model/capture.js';
import { asMirrorError, MirrorError } from '../model/errors.js';
import type { DomainUuid } from '../model/identifiers.js';
import { stateFault, stateFaultOf, type StateFault } from '../model/state-fault.js';
import type { Generation } from '../volume/share-store.js';
import { resolveDomain } from './domain-argument.js';
import type { CliEnvironment, OpenContext } from './environment.js';
import { expectIdle, expectNothingSpooled, type IdleVolume } from './idle-volume.js';
import { command, type CommonOptions } from './options.js';
import { keptText, placeContent, type Placed } from './place-content.js';

const CHOICES = ['head', 'local', 'diverged'] as const;
type Choice = (typeof CHOICES)[number];
type ResolveOptions = CommonOptions & { readonly keep: Choice; readonly copy?: string };

interface Resolved {
  /** The head from now on. */
  readonly generation: number;
  /** What this host had is a diverged copy now. */
  readonly diverged: string | undefined;
  readonly placed: Placed | undefined;
}

export function resolveCommand(environment: CliEnvironment): Command {
  return command('resolve <domain>', 'choose the state that a domain goes on with; the other one is kept')
    .addOption(
      new Option('--keep <which>', 'what it goes on with').choices([...CHOICES]).makeOptionMandatory(),
    )
    .option('--copy <content>', 'which diverged copy: first digits of its content')
    .action(async (argument: string, options: ResolveOptions) => {
      const config = await environment.loadConfig(options.config);
      const uuid = await resolveDomain(environment, config, argument);
      const opened = await environment.openContext(config, 'silent');
      try {
        const resolved = await opened.context.locks.withDomain(uuid, () => resolve(opened, uuid, options));
        environment.terminal.out(
          options.json ? `${json(uuid, options.keep, resolved)}\n` : `${text(options.keep, resolved)}\n`,
        );
      } finally {
        await opened.close();
      }
    });
}

async function resolve(
  opened: OpenContext,
  uuid: DomainUuid,
  { keep, copy }: ResolveOptions,
): Promise<Resolved> {
  const { context } = opened;
  // A state that cannot be stored is set aside with what replaces it: else nothing would ever end that stop.
  const idle = await expectIdle(context, uuid, 'refuse', keep === 'local' ? 'refuse' : 'unusable');
  await expectNothingSpooled(context, uuid);
  const record = await context.journal.read(uuid);
  const place = domainPlace(context.config, { ...record, uuid, live: undefined });
  const name = record?.name ?? '';
  const local = await readLocal(opened, place, keep === 'local');
  const resolved =
    keep === 'local'
      ? await keepLocal(opened, idle, local, name)
      : await keepStored(opened, idle, place, { keep, copy, local, name });
  await opened.forgetDomain(uuid);
  return resolved;
}

async function keepLocal(
  opened: OpenContext,
  idle: IdleVolume,
  capture: Capture | undefined,
  domainName: string,
): Promise<Resolved> {
  if (!capture) throw nothingLocal();
  const placed = await placeContent(opened, idle, { capture, domainName, reason: 'resolve' });
  return { generation: placed.generation, diverged: undefined, placed };
}

interface StoredChoice {
  readonly keep: 'head' | 'diverged';
  readonly copy: string | undefined;
  readonly local: Capture | undefined;
  readonly name: string;
}

async function keepStored(
  opened: OpenContext,
  idle: IdleVolume,
  place: DomainPlace,
  { keep, copy, local, name }: StoredChoice,
): Promise<Resolved> {
  const { context } = opened;
  const { uuid } = place;
  const { generation } = await context.share.fetch({ uuid, slot: keep, digest: copy, fallBack: false });
  const loses = local && local.digest !== generation.capture.digest ? local : undefined;
  if (loses) await keepDiverged(opened, idle, loses, name);
  const placed = keep === 'head' ? undefined : await placeCopy(opened, idle, generation);
  if (local?.digest !== generation.capture.digest) await context.files.restore(place, generation.capture);
  return { generation: placed?.generation ?? generation.name.slot, diverged: loses?.digest, placed };
}

async function placeCopy(
  opened: OpenContext,
  idle: IdleVolume,
  { capture, manifest }: Generation,
): Promise<Placed> {
  return await placeContent(opened, idle, { capture, domainName: manifest.name, reason: 'resolve' });
}

/** Under no claim: nothing tells of which run it is. */
async function keepDiverged(
  { context }: OpenContext,
  { volume }: IdleVolume,
  capture: Capture,
  name: string,
): Promise<void> {
  const slot = (volume?.log.top ?? 0) + 1;
  const note = publishNote(context, name, 'diverged');
  await context.share.diverge({ uuid: capture.uuid, epoch: 0, slot, capture, note });
}

/** @returns `undefined` when there is none, or none that could be kept otherwise than by setting it aside */
async function readLocal(
  { context }: OpenContext,
  place: DomainPlace,
  isChosen: boolean,
): Promise<Capture | undefined> {
  try {
    return await context.files.read(place, true);
  } catch (error) {
    const fault = stateFaultOf(error);
    if (asMirrorError(error).code === 'NO_STATE' || (fault !== undefined && !isChosen)) return undefined;
    throw fault === undefined ? error : cannotBeChosen(fault, asMirrorError(error));
  }
}

/** Nothing that is not known to be whole becomes the head. It stays where it is. */
function cannotBeChosen(fault: StateFault, { message }: MirrorError): MirrorError {
  const next =
    fault === 'not-understood'
      ? 'upgrade swtpm-mirror on this host to a version that knows this format, then choose again'
      : 'mend it, or choose another with --keep; what lies here is set aside then';
  return stateFault(fault, `this host's TPM state cannot become the head: ${message}`, { next });
}

function nothingLocal(): MirrorError {
  return new MirrorError('STATE_MISSING', 'this host has no TPM state of the domain to keep', {
    next: 'put it into the swtpm directory, or choose another with --keep',
  });
}

function json(uuid: DomainUuid, keep: Choice, { generation, diverged, placed }: Resolved): string {
  const before = placed?.before ?? generation;
  return JSON.stringify({
    uuid,
    keep,
    generation,
    before,
    kept: placed?.kept ?? null,
    diverged: diverged ?? null,
  });
}

function text(keep: Choice, { generation, diverged, placed }: Resolved): string {
  const what = { head: 'the head', local: "this host's state", diverged: 'the diverged copy' }[keep];
  const lost = diverged === undefined ? '' : "; this host's state before is a diverged copy";
  return `${what} is kept: generation ${String(generation)}${placed ? keptText(placed) : ''}${lost}`;
}
