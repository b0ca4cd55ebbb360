/**
 * fenced-mark: an operator's or a fence agent's word that a host is dead, so that nobody waits for its expiry.
 *
 *   <share>/hosts/<host>/fenced   {"beat": "<sha256 of the heartbeat file>", "mtimeNs": "…", "by": "kvm-b", "at": …}
 *
 * I1 The mark holds only for the very beat that it was made for: a host that beats again is alive again, whatever
 *    any clock says.
 * I2 Like an expiry it only decides when a take-over may be tried; the log decides who won.
 */
import * as z from 'zod';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { OpenFile } from '../model/filesystem.js';
import { sha256 } from '../model/hash.js';
import { bearsName } from '../model/host-identity.js';
import type { HostName } from '../model/identifiers.js';
import { readWhole, writeWhole } from './files.js';
import { hostsPath, newToken, TEMPORARY_PREFIX, timestamp, type ShareContext } from './share-context.js';

const MARK_BYTES_MAX = 4096;
const HEARTBEAT_BYTES_MAX = 4096;
const MARK = z.object({ beat: z.string(), mtimeNs: z.string(), by: z.string(), at: z.string() });

/** One beat of a host's, told from every other one. */
interface Beat {
  readonly beat: string;
  readonly mtimeNs: string;
}

/** @param heartbeat the host's, open */
export async function isFenced(context: ShareContext, host: HostName, heartbeat: OpenFile): Promise<boolean> {
  const mark = await readMark(context, host);
  if (!mark) return false;
  const { beat, mtimeNs } = await beatIn(heartbeat);
  return mark.beat === beat && mark.mtimeNs === mtimeNs;
}

/**
 * Declares a host dead as of its last beat.
 *
 * @throws MirrorError `USAGE` for this host itself, or one that is not on the share
 */
export async function declareFenced(context: ShareContext, host: HostName): Promise<void> {
  if (bearsName({ host }, context.self)) {
    throw new MirrorError('USAGE', `${host} is this host, which is alive`, {
      next: 'run it on another host, with the name of the one that was fenced',
    });
  }
  const { fs } = context;
  const directory = `${hostsPath(context)}/${host}`;
  const heartbeat = await fs
    .open('fenced:open-heartbeat', `${directory}/heartbeat`, 'read')
    .catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
      throw new MirrorError(
        'USAGE',
        `the host ${host} has no heartbeat on this share: it left, or never was`,
        {
          next: 'nothing, if that is its name: nobody waits for it; see `swtpm-mirror status --all-hosts`',
        },
      );
    });
  let beat: Beat;
  try {
    beat = await beatIn(heartbeat);
  } finally {
    await heartbeat.close('fenced:close-heartbeat');
  }
  const text = `${JSON.stringify({ ...beat, by: context.self.name, at: timestamp(context) })}\n`;
  const temporary = `${directory}/${TEMPORARY_PREFIX}fenced-${newToken(context)}`;
  await writeWhole(fs, 'fenced', temporary, new TextEncoder().encode(text));
  await fs.rename('fenced:rename', temporary, `${directory}/fenced`);
  await fs.syncDirectory('fenced:sync', directory);
}

async function beatIn(heartbeat: OpenFile): Promise<Beat> {
  const data = await heartbeat.read('fenced:read-heartbeat', HEARTBEAT_BYTES_MAX, 0);
  const { mtimeNs } = await heartbeat.stat('fenced:stat-heartbeat');
  return { beat: sha256(data), mtimeNs: String(mtimeNs) };
}

/** One that cannot be read declares nobody dead. */
async function readMark(context: ShareContext, host: HostName): Promise<z.output<typeof MARK> | undefined> {
  try {
    const data = await readWhole(
      context.fs,
      'fenced',
      `${hostsPath(context)}/${host}/fenced`,
      MARK_BYTES_MAX,
    );
    return MARK.safeParse(JSON.parse(new TextDecoder().decode(data))).data;
  } catch {
    return undefined;
  }
}
