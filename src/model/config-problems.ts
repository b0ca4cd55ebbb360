/**
 * config-problems: what is wrong with a configuration file, one phrase for each problem, from the findings of the schema and the TOML parser.
 *
 * I1 No phrase repeats a line of the file or a value of `[encryption]`: a key pasted in the wrong place must not end up in a log.
 */
import { distance } from 'fastest-levenshtein';
import type { TomlError } from 'smol-toml';
import type { core } from 'zod';
import { CONFIG_KEYS } from './config-schema.js';
import { quoted } from './identifiers.js';

export function describeIssue(issue: core.$ZodIssue): string[] {
  if (issue.code === 'unrecognized_keys') {
    const section = String(issue.path[0] ?? '');
    return issue.keys.map((key) => describeUnknownKey(section, key));
  }
  return [`${formatPath(issue.path)} is ${describeValue(issue.path[0], issue.input)}, ${issue.message}`];
}

/** The reason and the place only; the parser's own message goes on to print the line. */
export function describeSyntaxError(error: TomlError): string {
  const reason = (error.message.split('\n')[0] ?? '').replace(/^Invalid TOML document: /, '');
  return `line ${error.line}, column ${error.column}: ${reason}`;
}

function describeUnknownKey(section: string, key: string): string {
  const nearest = nearestKey(section, key);
  const place = section === '' ? 'at the top level' : `in [${section}]`;
  return `unknown key ${quoted(key)} ${place}, the nearest key is ${nearest}`;
}

/** The key with the smallest edit distance; of equally near ones, one of the same section. */
function nearestKey(section: string, key: string): string {
  let best = { score: Infinity, text: '' };
  for (const [candidateSection, keys] of Object.entries(CONFIG_KEYS)) {
    for (const candidate of keys) {
      const score = distance(key, candidate) + (candidateSection === section ? 0 : 0.5);
      if (score < best.score) best = { score, text: formatKey(candidateSection, candidate) };
    }
  }
  return best.text;
}

function formatKey(section: string, key: string): string {
  if (section !== '') return `"${key}" in [${section}]`;
  return key in CONFIG_KEYS ? `the section [${key}]` : `"${key}" at the top level`;
}

function formatPath(path: readonly PropertyKey[]): string {
  return path
    .map((part, at) => (typeof part === 'number' ? `[${part}]` : `${at > 0 ? '.' : ''}${String(part)}`))
    .join('');
}

function describeValue(section: PropertyKey | undefined, value: unknown): string {
  if (typeof value === 'string') {
    return section === 'encryption' ? `a string of ${value.length} characters` : quoted(value);
  }
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (value instanceof Date) return 'a date';
  return Array.isArray(value) ? 'an array' : 'a table';
}
