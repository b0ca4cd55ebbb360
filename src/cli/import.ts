/**
 * import: `swtpm-mirror import FILE [--as UUID]`: an exported state becomes the head of a volume, after it was verified.
 */
import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { orHostError } from '../host/host-error.js';
import { readRegular, UnfitFileError } from '../host/files.js';
import { MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import { parseDomainUuid } from '../model/identifiers.js';
import { confirm } from './confirm.js';
import type { CliEnvironment, OpenContext } from './environment.js';
import { expectIdle, type IdleVolume } from './idle-volume.js';
import { command, type CommonOptions } from './options.js';
import { keptText, placeContent, placedJson, type Placed } from './place-content.js';
import {
  decodeState,
  formatOf,
  STATE_FILE_FORM_BYTES_MAX,
  STATE_FORMATS,
  type DecodedState,
  type StateFormat,
} from './state-formats.js';

type ImportOptions = CommonOptions & {
  readonly as?: string;
  readonly name?: string;
  readonly format?: StateFormat;
  readonly nvram?: string;
  readonly yes?: boolean;
};

export function importCommand(environment: CliEnvironment): Command {
  return command('import <file>', 'make an exported state the head of a volume, after verifying it')
    .option('--as <uuid>', 'for this domain (default: the one it was exported from)')
    .option('--name <name>', "the domain's name")
    .addOption(
      new Option('--format <format>', 'what it is (default: what it looks like)').choices([...STATE_FORMATS]),
    )
    .option('--nvram <file>', "with oVirt's data: the engine's NVRAM data")
    .option('--yes', 'also in place of the head of a volume that exists')
    .action(async (path: string, options: ImportOptions) => {
      const { terminal, fs } = environment;
      const as = options.as === undefined ? undefined : parseDomainUuid(options.as);
      const data = await readInput(fs, path);
      const nvram = options.nvram === undefined ? undefined : await readInput(fs, options.nvram);
      const format = options.format ?? formatOf(data);
      if (!format) throw unknownForm(path);
      const config = await environment.loadConfig(options.config);
      const sealing = await environment.openSealing(config);
      const { compressor } = environment;
      const state = await decodeState({ data, nvram }, format, as, { compressor, sealing });
      const { uuid } = state.capture;
      const opened = await environment.openContext(config, 'silent');
      try {
        const placed = await opened.context.locks.withDomain(uuid, () => place(opened, state, options));
        if (state.uuid !== undefined && state.uuid !== uuid) {
          terminal.err(
            `${uuid}: it is the same TPM as that of ${state.uuid}, endorsement key and all; use one of the two only\n`,
          );
        }
        terminal.out(
          options.json
            ? `${JSON.stringify({ uuid, sha256: state.capture.digest, ...placedJson(placed) })}\n`
            : `generation ${String(placed.generation)} of ${uuid} is what was imported${keptText(placed)}\n`,
        );
      } finally {
        await opened.close();
      }
    });
}

async function place(
  opened: OpenContext,
  { capture, domainName }: DecodedState,
  { name, yes }: ImportOptions,
): Promise<Placed> {
  const { uuid } = capture;
  const idle = await expectIdle(opened.context, uuid, 'refuse');
  await expectKnown(opened, idle, uuid);
  const head = idle.volume?.log.head;
  if (head) {
    confirm(
      yes,
      `${uuid} has a volume: its head, generation ${String(head.slot)}, would be followed by what is imported`,
    );
  }
  return await placeContent(opened, idle, { capture, domainName: name ?? domainName, reason: 'import' });
}

/** Behind what this host knows, an import would only be refused at the next start. */
async function expectKnown(
  { context }: OpenContext,
  { volume }: IdleVolume,
  uuid: DecodedState['capture']['uuid'],
): Promise<void> {
  const known = (await context.journal.read(uuid))?.slot ?? 0;
  const head = volume?.log.head?.slot ?? 0;
  if (known <= head) return;
  throw new MirrorError(
    'STATE_BEHIND',
    `this host knows of generation ${String(known)} of ${uuid}, but its volume ${head === 0 ? 'has none' : `ends at ${String(head)}`}`,
    {
      next: `mount the export that has it; if it is lost for good, \`swtpm-mirror purge ${uuid} --yes\` clears the way`,
    },
  );
}

function unknownForm(path: string): MirrorError {
  return new MirrorError(
    'USAGE',
    `${resolve(path)} is nothing that \`export\` writes in any of its formats`,
    {
      next: 'give an exported file; one in an archive, such as an OVA, is taken out of it first (`tar xf`)',
    },
  );
}

async function readInput(fs: FileSystem, path: string): Promise<Uint8Array> {
  const full = resolve(path);
  return await orHostError(`read ${full}`, async () => {
    try {
      return (await readRegular(fs, 'import', full, STATE_FILE_FORM_BYTES_MAX)).data;
    } catch (error) {
      if (!(error instanceof UnfitFileError)) throw error;
      throw new MirrorError('USAGE', `${full} is ${error.message}`, { next: 'give an exported file' });
    }
  });
}
