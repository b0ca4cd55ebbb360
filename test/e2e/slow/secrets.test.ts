/**
 * TPM state leaves a host as generations on the share, and in no other way: no log, message, journal or history has a byte of it.
 */
import { randomBytes } from 'node:crypto';
import { readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { DOMAIN, Guest } from '../../fixtures/guest.js';
import type { HostFixture } from '../../fixtures/host.js';
import { Site } from '../../fixtures/site.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const PATIENCE_MS = 60_000;
const CHUNK_BYTES = 12;
const DISTINCT_BYTES_MIN = 8;
/** What holds TPM state on purpose. */
const STATE_DIRECTORIES = ['spool', 'set-aside'];

/** Runs commands and remembers all that they say. */
class Listener {
  heard = '';

  async run(host: HostFixture, args: readonly string[]): Promise<void> {
    const { stdout, stderr } = await host.run(args);
    this.heard += stdout + stderr;
  }
}

/** A chunk as hexadecimal, as text of raw bytes, and as base64 at each of its three alignments. */
function forms(chunk: Buffer): string[] {
  const base64 = [0, 1, 2].map((lead) => {
    const text = Buffer.concat([Buffer.alloc(lead), chunk]).toString('base64');
    // Characters that share bits with what stands before or after the chunk are left out.
    return text.slice(lead === 0 ? 0 : 4, Math.floor(((lead + chunk.length) * 8) / 6) - 1).slice(0, 11);
  });
  return [chunk.toString('hex'), chunk.toString('latin1'), ...base64];
}

/** Every chunk of the state that cannot be there by chance. */
function chunksOf(state: Buffer): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; at + CHUNK_BYTES <= state.length; at += 4) {
    const chunk = state.subarray(at, at + CHUNK_BYTES);
    if (new Set(chunk).size >= DISTINCT_BYTES_MIN) chunks.push(chunk);
  }
  return chunks;
}

function findings(text: string, states: readonly Buffer[]): string[] {
  const lower = text.toLowerCase();
  return states.flatMap((state) =>
    chunksOf(state).flatMap((chunk) =>
      forms(chunk).filter((form, at) => (at === 0 ? lower.includes(form) : text.includes(form))),
    ),
  );
}

async function filesOf(host: HostFixture): Promise<string> {
  let text = '';
  for (const root of [host.stateDirectory, host.runDirectory]) {
    for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (!entry.isFile() || STATE_DIRECTORIES.some((name) => path.includes(`/${name}/`))) continue;
      text += `${path}\n${await readFile(path, 'latin1')}\n`;
    }
  }
  return text;
}

t.test(
  'no byte of TPM state is in any log, output, journal or history of a full life at log level trace',
  async (t) => {
    const site = await Site.create(t, { log: { level: 'trace' } });
    const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
    const listener = new Listener();
    const agents = [await a.startAgent(t), await b.startAgent(t)];
    const secret = randomBytes(64);
    const guest = await Guest.start(t, a, { manufactured: true });
    await guest.keep(secret);
    const volume = site.volume(DOMAIN);
    await volume.waitForHead(await guest.permall());

    const away = join(site.base, 'away');
    await rename(site.share, away);
    await guest.write(Buffer.from(secret).reverse());
    const spool = join(a.stateDirectory, 'spool', DOMAIN);
    await waitUntil('the state to be in the spool', PATIENCE_MS, async () =>
      (await readdir(spool).catch(() => [])).length > 0 ? true : undefined,
    );
    await listener.run(a, ['status']);
    await rename(away, site.share);
    await volume.waitForHead(await guest.permall(), PATIENCE_MS);

    await listener.run(b, ['domain', 'prepare', DOMAIN]);
    await listener.run(b, ['take-over', DOMAIN, '--force']);
    await guest.write(secret);
    await waitUntil('a diverged copy', PATIENCE_MS, async () =>
      (await volume.divergedFiles()).length > 0 ? true : undefined,
    );
    await listener.run(a, ['status']);
    const states = [secret, Buffer.from(secret).reverse(), await guest.permall()];
    await guest.stop();
    const moved = await Guest.start(t, b);
    states.push(await moved.permall());
    for (const args of [['status'], ['capture', DOMAIN], ['history', '--all', DOMAIN], ['verify', '--all']]) {
      await listener.run(b, args);
      if (args[0] !== 'capture') await listener.run(b, [...args, '--json']);
    }
    await listener.run(b, ['restore', DOMAIN, '--to', join(site.base, 'out'), '--json']);
    await moved.stop();
    for (const agent of agents) await agent.stop();

    const said = [
      listener.heard,
      ...agents.map((agent) => agent.log),
      await filesOf(a),
      await filesOf(b),
    ].join('\n');
    t.ok(said.length > 10_000, 'there is something to search');
    t.strictSame(findings(said, states), []);
    t.ok(findings(`${said}${secret.toString('hex')}`, states).length > 0, 'the search finds what is there');
    t.ok(
      findings(`${said}{"data":"${Buffer.concat([Buffer.from('x'), secret]).toString('base64')}"}`, states)
        .length > 0,
    );
  },
);
