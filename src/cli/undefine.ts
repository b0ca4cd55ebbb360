/**
 * undefine: `swtpm-mirror undefine DOMAIN`: take a domain off this host and close its volume, losing nothing.
 *
 *   P1 look       libvirt knows it and it is shut off
 *   P2 links      symbolic links at its TPM directories go, before libvirt could delete what they point to
 *   P3 capture    state that the share does not have is published, by the same plan as at a start
 *   P4 undefine   libvirt deletes the definition, the TPM's directory and the NVRAM
 *   P5 tombstone  the volume keeps everything; a start is refused until it is revived
 *
 * I1 (G5) Nothing is deleted before the share has it (P3 before P4).
 * I2 A failure leaves either the domain as it was, or a volume without a tombstone, which `forget` closes.
 */
import type { Command } from 'commander';
import { unprotected } from '../agent/left-out.js';
import { settleOwnPlace } from '../agent/own-place.js';
import { careFor, type DomainCare, type OwnTpmDirectory } from '../libvirt/domain-care.js';
import { readDomainXml, type DomainXml } from '../libvirt/domain-xml.js';
import { nvramPathOf } from '../libvirt/nvram-path.js';
import { mustVirsh, takesOption, type Virsh } from '../libvirt/virsh-adapter.js';
import type { Config } from '../model/config.js';
import { asMirrorError, MirrorError } from '../model/errors.js';
import type { AgentContext } from '../agent/agent-context.js';
import { domainPlace } from '../agent/domain-place.js';
import { actOnDomain } from './domain-session.js';
import type { CliEnvironment, OpenContext } from './environment.js';
import { command, type CommonOptions } from './options.js';
import { printable } from './text-table.js';
import { buryVolume } from './tombstone.js';

type UndefineOptions = CommonOptions & { readonly keepNvram?: boolean };

const VIRSH_DEADLINE_MS = 60_000;
const REASON = 'undefine';

export function undefineCommand(environment: CliEnvironment): Command {
  return command(
    'undefine <domain>',
    'store the final state, undefine the domain in libvirt, and close its volume',
  )
    .option('--keep-nvram', "leave the domain's NVRAM file on this host")
    .action(async (argument: string, options: UndefineOptions) => {
      const config = await environment.loadConfig(options.config);
      const virsh: Virsh = { uri: config.libvirt.uri, deadlineMs: VIRSH_DEADLINE_MS };
      const uuid = (await mustVirsh(virsh, ['domuuid', '--domain', argument])).trim();
      const xml = await mustVirsh(virsh, ['dumpxml', '--inactive', '--domain', uuid]);
      const domain = readDomainXml(xml);
      await refuseRunning(virsh, uuid);
      if (domain) await storeState(environment, config, domain, careFor(xml, config.libvirt.swtpmDir));
      await mustVirsh(virsh, ['undefine', '--domain', uuid, ...(await deletionFlags(virsh, options))]);
      if (domain) await withContext(environment, config, (opened) => bury(opened, domain));
      const { terminal } = environment;
      terminal.out(
        options.json
          ? `${JSON.stringify({ uuid })}\n`
          : `${uuid} is undefined; its volume keeps its last state\n`,
      );
    });
}

async function refuseRunning(virsh: Virsh, uuid: string): Promise<void> {
  const state = (await mustVirsh(virsh, ['domstate', '--domain', uuid])).trim();
  if (state === 'shut off' || state === 'crashed') return;
  throw new MirrorError('DOMAIN_RUNNING', `${uuid} is ${printable(state)} on this host`, {
    next: 'shut it down first',
  });
}

async function storeState(
  environment: CliEnvironment,
  config: Config,
  domain: DomainXml,
  care: DomainCare,
): Promise<void> {
  const { uuid, name } = domain;
  const nvramPath = nvramPathOf(domain, config.libvirt.nvramDir);
  if (care.kind === 'unsupported') throw unprotected({ uuid, name, why: care.why, isAskedFor: false });
  let tpm: OwnTpmDirectory | undefined;
  const isKnown = await withContext(environment, config, async ({ context, fs }) => {
    if (care.kind === 'looked-after' && care.own) {
      tpm = await settleOwnPlace({ fs, config, journal: context.journal }, uuid, care.own);
    }
    for (const { path, target } of await context.files.takeLinksAway(uuid)) {
      environment.terminal.err(
        `removed the link ${printable(path)}; what is in ${printable(target)} stays there\n`,
      );
    }
    return (await hasVolume(context, domain)) || (await hasLocalState(context, domain, tpm));
  });
  if (!isKnown) return;
  await actOnDomain(environment, config, uuid, 'prepare', { name, nvramPath, tpm });
  await actOnDomain(environment, config, uuid, 'stopped', { reason: REASON });
}

/** A volume that was closed before counts as none: there is nothing to add to it. */
async function hasVolume({ share, knownShare, config }: AgentContext, { uuid }: DomainXml): Promise<boolean> {
  const { hostExpiryMs } = config.timing;
  const shareId = await knownShare.read();
  const call = { uuid, withHead: false, since: Number.MAX_SAFE_INTEGER, hostExpiryMs, shareId };
  const { volume } = await share.inspect(call);
  return volume !== undefined && !volume.log.tombstone;
}

async function hasLocalState(
  { files, config }: AgentContext,
  { uuid }: DomainXml,
  tpm: OwnTpmDirectory | undefined,
): Promise<boolean> {
  try {
    await files.read(domainPlace(config, { uuid, tpm }), true);
    return true;
  } catch (error) {
    if (asMirrorError(error).code === 'NO_STATE') return false;
    throw error;
  }
}

async function bury({ context, uninterrupted }: OpenContext, { uuid }: DomainXml): Promise<void> {
  try {
    await context.locks.withDomain(uuid, () => uninterrupted(() => buryVolume(context, uuid, REASON)));
  } catch (error) {
    const { code, message } = asMirrorError(error);
    throw new MirrorError(code, `${uuid} is undefined, but its volume is still open: ${message}`, {
      next: `close it with \`swtpm-mirror forget ${uuid}\``,
      cause: error,
    });
  }
}

/** The state is on the share, so libvirt need not keep any of it, whatever the domain's XML says. */
async function deletionFlags(virsh: Virsh, { keepNvram }: UndefineOptions): Promise<string[]> {
  const tpm = (await takesOption(virsh, 'undefine', '--tpm')) ? ['--tpm'] : [];
  return [keepNvram ? '--keep-nvram' : '--nvram', ...tpm];
}

async function withContext<Result>(
  environment: CliEnvironment,
  config: Config,
  work: (opened: OpenContext) => Promise<Result>,
): Promise<Result> {
  const opened = await environment.openContext(config, 'silent');
  try {
    return await work(opened);
  } finally {
    await opened.close();
  }
}
