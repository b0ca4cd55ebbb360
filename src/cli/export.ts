/**
 * export: `swtpm-mirror export DOMAIN FILE`: a generation as one file that can be kept, sent, or put into an OVA, and imported anywhere.
 */
import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { orHostError } from '../host/host-error.js';
import { writeNewFile } from '../host/files.js';
import type { Config } from '../model/config.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import { resolveDomain, type WhereToLook } from './domain-argument.js';
import type { CliEnvironment } from './environment.js';
import { tellLost } from './lost-parts.js';
import { command, parseGeneration, withAllHosts, type CommonOptions } from './options.js';
import { encodeState, STATE_FORMATS, type EncodedState, type StateFormat } from './state-formats.js';

type ExportOptions = CommonOptions &
  WhereToLook & {
    readonly generation?: string;
    readonly format: StateFormat;
    readonly nvram?: string;
    readonly encrypt?: boolean;
  };

export function exportCommand(environment: CliEnvironment): Command {
  return withAllHosts(command('export <domain> <file>', 'a generation as one new file of mode 0600'))
    .option('--generation <number>', 'which generation (default: the head)')
    .addOption(
      new Option('--format <format>', "ovirt: the engine's TPM data; metadata: XML for a domain's definition")
        .choices([...STATE_FORMATS])
        .default('bundle'),
    )
    .option('--nvram <file>', "with --format ovirt: where the engine's NVRAM data goes")
    .option('--encrypt', 'for the recipients of the configuration; otherwise it is in the clear')
    .action(async (argument: string, path: string, options: ExportOptions) => {
      const { terminal, fs } = environment;
      const { format } = options;
      const slot = options.generation === undefined ? 'head' : parseGeneration(options.generation);
      const config = await environment.loadConfig(options.config);
      const uuid = await resolveDomain(environment, config, argument, options);
      const { share, close } = await environment.openShare(config);
      try {
        const { generation } = await share.fetch({ uuid, slot, fallBack: false });
        tellLost(terminal, generation);
        const plain = await encodeState(generation, format, environment.compressor);
        const encoded = options.encrypt ? await encrypted(environment, config, plain, format) : plain;
        const files = targets(encoded, path, options.nvram);
        for (const { to, data } of files) await writeNew(fs, to, data);
        if (encoded.nvram && options.nvram === undefined) {
          terminal.err('the NVRAM is not in it: give --nvram FILE to have it, too\n');
        }
        const result = {
          uuid,
          generation: generation.name.slot,
          format,
          sha256: generation.capture.digest,
          files: files.map(({ to }) => to),
        };
        terminal.out(
          options.json ? `${JSON.stringify(result)}\n` : files.map(({ to }) => `${to}\n`).join(''),
        );
      } finally {
        await close();
      }
    });
}

/** @throws MirrorError `USAGE` where there is nobody to encrypt for, or the form is text for another program */
async function encrypted(
  environment: CliEnvironment,
  config: Config,
  { data }: EncodedState,
  format: StateFormat,
): Promise<EncodedState> {
  const sealing = await environment.openSealing(config);
  if (format !== 'bundle' || sealing?.recipientSet === undefined) {
    const why = format === 'bundle' ? 'no recipients are configured' : `the form ${format} is text`;
    throw new MirrorError('USAGE', `cannot encrypt the export: ${why}`, {
      next: 'set `encryption.recipients`, or pipe the file through `age -r RECIPIENT`',
    });
  }
  return { data: await sealing.seal(data) };
}

function targets(
  { data, nvram }: EncodedState,
  path: string,
  nvramPath: string | undefined,
): { readonly to: string; readonly data: Uint8Array }[] {
  const file = { to: resolve(path), data };
  if (nvramPath === undefined) return [file];
  if (nvram) return [file, { to: resolve(nvramPath), data: nvram }];
  throw new MirrorError('USAGE', 'there is no NVRAM to be written to a file of its own', {
    next: 'leave --nvram out: this generation has none, or this format keeps it with the TPM',
  });
}

async function writeNew(fs: FileSystem, path: string, data: Uint8Array): Promise<void> {
  await orHostError(`write ${path}`, async () => {
    try {
      await writeNewFile(fs, 'export', path, data);
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') {
        throw new MirrorError('USAGE', `${path} exists`, { next: 'give the name of a new file' });
      }
      // Half a file is no export; the failure above is the one to report.
      await fs.unlink('export:unlink', path).catch(() => undefined);
      throw error;
    }
  });
}
