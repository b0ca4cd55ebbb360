/**
 * verify: read back all that a volume has: its log, every generation, diverged copy and snapshot. Nothing is written.
 *
 * A log that cannot be read hides which generations count. Then every archive in `gen/` is checked by itself: they are what the volume is
 * mended with.
 *
 * One that cannot be read, or does not answer, is a finding like any other (`archive-reads.ts`).
 *
 * Of a generation that is sealed for other keys than this host's, only what shows without a key is checked: header and length (`age-header.ts`).
 */
import { asMirrorError, isVolumeUnfit, type ErrorRecord, type MirrorError } from '../model/errors.js';
import { parseGenerationName, type GenerationName } from '../model/generation-name.js';
import type { DomainUuid } from '../model/identifiers.js';
import type { VolumeLog } from '../model/volume-log.js';
import { ArchiveReads } from './archive-reads.js';
import { isUnopened, noSuchVolume, readArchive, readGeneration } from './fetch.js';
import { listDiverged } from './diverged.js';
import { prunedSlots } from './history.js';
import { readLog } from './log.js';
import { listPins } from './pins.js';
import { volumePaths, type ShareContext } from './share-context.js';
import { strangersIn } from './strangers.js';
import type { DamagedGeneration, Generation, VerifyResult } from './share-store.js';

/** @throws MirrorError `NO_SUCH_DOMAIN`; `SHARE_*` when the share as such does not answer, which is no verdict */
export async function verify(context: ShareContext, uuid: DomainUuid): Promise<VerifyResult> {
  const checks = new Checks(new ArchiveReads(context, uuid));
  const { log, problem } = await logOrProblem(context, uuid);
  const { gen, diverged } = volumePaths(context, uuid);
  for (const name of log ? await inLog(context, uuid, log) : await inDirectory(context, gen)) {
    await checks.check(name, () => readGeneration(context, uuid, name, checks.reads.parts));
  }
  for (const { file, generation } of await listDiverged(context, uuid)) {
    const path = `${diverged}/${file}`;
    await checks.check(generation, () => readArchive(context, uuid, generation, path, checks.reads.parts));
  }
  const pins = await listPins(context, uuid, checks.reads);
  const damagedPins = pins.flatMap(({ name, damage }) =>
    damage && damage.code !== 'KEY_MISSING'
      ? [{ ...damage, message: `snapshot ${name}: ${damage.message}` }]
      : [],
  );
  return {
    uuid,
    checked: checks.count + pins.length,
    unopened: checks.unopened + pins.filter(({ damage }) => damage?.code === 'KEY_MISSING').length,
    damaged: checks.damaged,
    problems: [...(problem ? [problem] : []), ...checks.skipped(), ...damagedPins],
    strangers: log ? await strangersIn(context, log) : [],
  };
}

class Checks {
  readonly reads: ArchiveReads;
  count = 0;
  unopened = 0;
  readonly damaged: DamagedGeneration[] = [];
  readonly #skipped: MirrorError[] = [];

  constructor(reads: ArchiveReads) {
    this.reads = reads;
  }

  async check(name: GenerationName, reading: () => Promise<Generation>): Promise<void> {
    const attempt = await this.reads.attempt(`generation ${String(name.slot)}`, reading);
    if (attempt.kind === 'skipped') {
      this.#skipped.push(attempt.error);
      return;
    }
    this.count++;
    if (attempt.kind === 'read') {
      const { lost } = attempt.value;
      if (lost) this.damaged.push({ name, error: partsLost(lost) });
      return;
    }
    if (isUnopened(attempt.error)) this.unopened++;
    else this.damaged.push({ name, error: attempt.error.toRecord() });
  }

  /** One finding for all that no time was left for. */
  skipped(): ErrorRecord[] {
    const [first] = this.#skipped;
    if (!first) return [];
    const { length } = this.#skipped;
    const more = length > 1 ? `, nor were ${String(length - 1)} more after it` : '';
    return [{ ...first.toRecord(), message: `${first.message}${more}` }];
  }
}

function partsLost(lost: ErrorRecord): ErrorRecord {
  return { ...lost, message: `its TPM is whole, and what is beside it is lost: ${lost.message}` };
}

async function logOrProblem(
  context: ShareContext,
  uuid: DomainUuid,
): Promise<{ log?: VolumeLog; problem?: ErrorRecord }> {
  try {
    const log = await readLog(context, uuid, 'all');
    if (log) return { log };
  } catch (error) {
    if (!isVolumeUnfit(error)) throw error;
    return { problem: asMirrorError(error).toRecord() };
  }
  throw noSuchVolume(uuid);
}

async function inLog(context: ShareContext, uuid: DomainUuid, log: VolumeLog): Promise<GenerationName[]> {
  const pruned = await prunedSlots(context, uuid, log);
  const entries = [...log.published, ...log.diverged].filter(({ slot }) => !pruned.has(slot));
  return entries.map(({ generation }) => generation);
}

async function inDirectory({ fs }: ShareContext, gen: string): Promise<GenerationName[]> {
  const names = (await fs.readdir('verify:readdir-gen', gen)).sort();
  return names.map(parseGenerationName).filter((name) => name !== undefined);
}
