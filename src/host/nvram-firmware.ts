/**
 * nvram-firmware: what stands in the place of a domain's firmware variables on this host, and what its firmware expects there.
 *
 * A fresh file is made from a template, so a stored one suits if it has that template's size. The XML names the template, or QEMU's firmware
 * descriptors (`docs/interop/firmware.json` in QEMU's sources) do: for the loader that the XML names, or for any that fits the machine.
 *
 * I1 What cannot be found out speaks against nothing: no size is expected then.
 */
import * as z from 'zod';
import type { PartRole } from '../model/capture.js';
import { errnoOf } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import {
  nvramFacts,
  NVRAM_HEAD_BYTES,
  type ExpectedNvram,
  type NvramFacts,
  type NvramForm,
  type StandingNvram,
} from '../model/nvram.js';
import type { DomainPaths } from './domain-paths.js';
import { lstatIfAny, namesIn, readRegular, UnfitFileError } from './files.js';
import { resolveDevice } from './nvram-device.js';

const FIRMWARE_DIRECTORIES = ['/etc/qemu/firmware', '/usr/share/qemu/firmware'];
const DESCRIPTOR_BYTES_MAX = 64 * 1024;
const DESCRIPTORS_MAX = 128;

export interface NvramOnHost {
  readonly standing: StandingNvram;
  readonly expected: ExpectedNvram;
}

/** Never fails: what cannot be read is `unfit`, or expected by nobody. */
export async function lookAtNvram(
  fs: FileSystem,
  { nvramPath, nvram }: DomainPaths,
  directories: readonly string[] = FIRMWARE_DIRECTORIES,
): Promise<NvramOnHost> {
  const standing = nvramPath === undefined ? MISSING : await standingAt(fs, nvramPath, nvram);
  if (nvram?.role !== 'nvram') {
    return { standing, expected: { format: nvram?.format, flashBytes: [], isGuess: true } };
  }
  return {
    standing,
    expected: { format: nvram.format, ...(await expectedSizes(fs, nvram, directories)) },
  };
}

const MISSING: StandingNvram = { kind: 'missing' };
const UNFIT: StandingNvram = { kind: 'unfit' };

async function standingAt(fs: FileSystem, path: string, form: NvramForm | undefined): Promise<StandingNvram> {
  const role = form?.role ?? 'nvram';
  try {
    if (form?.device) {
      const device = await resolveDevice(fs, path);
      return device === undefined ? UNFIT : { kind: 'file', ...(await factsOf(fs, device, role, undefined)) };
    }
    const stat = await lstatIfAny(fs, 'nvram:lstat', path);
    if (!stat) return MISSING;
    if (stat.kind !== 'file') return UNFIT;
    // What an interrupted copy of the template leaves is no file of variables.
    if (stat.size === 0) return MISSING;
    return { kind: 'file', ...(await factsOf(fs, path, role, stat.size)) };
  } catch (error) {
    if (error instanceof UnfitFileError || errnoOf(error) !== undefined) return UNFIT;
    throw error;
  }
}

async function factsOf(
  fs: FileSystem,
  path: string,
  role: PartRole,
  size: number | undefined,
): Promise<NvramFacts> {
  const file = await fs.open('nvram:open', path, 'read');
  try {
    const head = await file.read('nvram:read', NVRAM_HEAD_BYTES, 0);
    const facts = nvramFacts(role, head, size ?? 0);
    return size === undefined && facts.format === 'raw' ? { ...facts, flashBytes: undefined } : facts;
  } finally {
    await file.close('nvram:close');
  }
}

async function expectedSizes(
  fs: FileSystem,
  form: NvramForm,
  directories: readonly string[],
): Promise<Pick<ExpectedNvram, 'flashBytes' | 'isGuess'>> {
  const named = form.template === undefined ? undefined : await sizeOfTemplate(fs, form.template);
  if (named !== undefined) return { flashBytes: [named], isGuess: false };
  const sizes = new Set<number>();
  for (const template of await describedTemplates(fs, form, directories)) {
    const size = await sizeOfTemplate(fs, template);
    if (size !== undefined) sizes.add(size);
  }
  return { flashBytes: [...sizes].sort((a, b) => a - b), isGuess: form.loader === undefined };
}

async function sizeOfTemplate(fs: FileSystem, path: string): Promise<number | undefined> {
  const found = await templateAt(fs, path);
  return found.kind === 'file' ? found.flashBytes : undefined;
}

/** A template is the distribution's own, and may be a link. */
async function templateAt(fs: FileSystem, path: string): Promise<StandingNvram> {
  const target = await fs.readlink('nvram:readlink', path).catch(() => undefined);
  const resolved =
    target === undefined ? path : target.startsWith('/') ? target : `${path.replace(/[^/]*$/, '')}${target}`;
  return await standingAt(fs, resolved, undefined);
}

const DESCRIPTOR = z.object({
  'interface-types': z.array(z.string()),
  mapping: z.object({
    device: z.literal('flash'),
    executable: z.object({ filename: z.string() }),
    'nvram-template': z.object({ filename: z.string(), format: z.string() }),
  }),
  targets: z.array(z.object({ architecture: z.string() })),
});

async function describedTemplates(
  fs: FileSystem,
  form: NvramForm,
  directories: readonly string[],
): Promise<string[]> {
  const { loader, arch, format } = form;
  if (loader === undefined && arch === undefined) return [];
  const templates: string[] = [];
  for (const directory of directories) {
    const names = await namesIn(fs, 'firmware:readdir', directory).catch(() => []);
    for (const name of names.filter((one) => one.endsWith('.json')).slice(0, DESCRIPTORS_MAX)) {
      const found = await descriptorAt(fs, `${directory}/${name}`);
      if (!found) continue;
      const { executable, 'nvram-template': template } = found.mapping;
      const isMeant =
        loader === undefined
          ? found.targets.some(({ architecture }) => architecture === arch) &&
            template.format === (format ?? 'raw')
          : executable.filename === loader;
      if (isMeant) templates.push(template.filename);
    }
  }
  return templates;
}

async function descriptorAt(fs: FileSystem, path: string): Promise<z.infer<typeof DESCRIPTOR> | undefined> {
  try {
    const { data } = await readRegular(fs, 'firmware', path, DESCRIPTOR_BYTES_MAX);
    const parsed = DESCRIPTOR.safeParse(JSON.parse(Buffer.from(data).toString()));
    return parsed.success && parsed.data['interface-types'].includes('uefi') ? parsed.data : undefined;
  } catch {
    // Somebody's own file in that directory: it describes nothing that is known here.
    return undefined;
  }
}
