/**
 * first-config: every key of the configuration with its default and its meaning, out of the schema:
 * for the file that `install` writes, and for the manual.
 */
import type * as z from 'zod';
import { CONFIG_FILE } from '../model/config-schema.js';

/** What stands for a default that depends on the machine or on other keys. */
const EXAMPLES: Readonly<Record<string, string>> = {
  host: 'kvm-a',
  share: '/var/lib/swtpm-mirror/share',
};
const COMMENT_COLUMN = 42;

/** The configuration as TOML, each key on a line of its own, preceded by `mark`. */
export function configReference(mark: string): string {
  const lines: string[] = [];
  const sections: string[] = [];
  for (const [key, schema] of Object.entries(CONFIG_FILE.shape)) {
    const keys = keysOf(schema);
    if (keys === undefined) lines.push(keyLine(mark, key, schema));
    else sections.push('', `[${key}]`, ...keys.map(([name, of]) => keyLine(mark, name, of)));
  }
  return [...lines, ...sections, ''].join('\n');
}

/**
 * Every key with its default, switched off. Never written over a file that is there: it is the
 * operator's from the first moment.
 */
export const FIRST_CONFIG = `# swtpm-mirror: every key with its default. Take the # away from what you change.

${configReference('#')}`;

/** What an installation sets in it. */
export interface FirstSettings {
  readonly share: string;
  readonly uid: number;
  readonly gid: number;
}

/** The first configuration with some of its keys switched on. */
export function firstConfig({ share, uid, gid }: FirstSettings): string {
  const set = (text: string, key: string, value: string | number): string =>
    text.replace(new RegExp(`^#${key} = .*?(?= +# )`, 'm'), (line) =>
      `${key} = ${JSON.stringify(value)}`.padEnd(line.length),
    );
  const withShare = set(FIRST_CONFIG, 'share', share);
  return uid === 0 ? withShare : set(set(withShare, 'uid', uid), 'gid', gid);
}

function keyLine(mark: string, key: string, schema: z.ZodType): string {
  const value = JSON.stringify(defaultOf(schema) ?? EXAMPLES[key]);
  return `${`${mark}${key} = ${value}`.padEnd(COMMENT_COLUMN)} # ${schema.description ?? ''}`;
}

/** The keys of a section; `undefined` for a plain key. */
function keysOf(schema: z.ZodType): [string, z.ZodType][] | undefined {
  const { innerType } = schema.def as { readonly innerType?: z.ZodType };
  const { shape } = (innerType?.def ?? schema.def) as { readonly shape?: z.ZodRawShape };
  return shape && (Object.entries(shape) as [string, z.ZodType][]);
}

function defaultOf(schema: z.ZodType): unknown {
  return (schema.def as { readonly defaultValue?: unknown }).defaultValue;
}
