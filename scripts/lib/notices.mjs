/**
 * notices: prints the copyright file of a package: this program's licence, and those of everything bundled with it, each text once.
 *
 *   node scripts/lib/notices.mjs METAFILE   what the bundler says is in the bundle
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

const LICENCE_NAME = /^(licen[cs]e|copying)(\.(md|txt))?$/i;
const APACHE = /^\s*Apache License\s+Version 2\.0, January 2004/;
/** Not the `[yyyy]` of the licence's appendix. */
const HOLDER = /^\s*(Copyright (?:\(c\) )?\d.*)$/im;
const OWN = `swtpm-mirror is under the Apache License, version 2.0, whose text is in
/usr/share/common-licenses/Apache-2.0 on Debian systems.

Its program, /usr/lib/swtpm-mirror/*.cjs, has these packages bundled with it:
`;

/** Directories of the packages that a bundle has parts of, nested ones included. */
function bundledPackages({ inputs }) {
  const found = Object.keys(inputs).map((path) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]);
  return [...new Set(found.filter(Boolean))].sort();
}

async function noticeOf(directory) {
  const { name, version, license, author, homepage } = JSON.parse(
    await readFile(join(directory, 'package.json'), 'utf8'),
  );
  const file = (await readdir(directory)).find((entry) => LICENCE_NAME.test(entry));
  if (!file && !license) throw new Error(`${directory} says nothing of its licence; it cannot be passed on`);
  const title = `${name} ${version}${license ? `, ${license}` : ''}`;
  if (file) return { title, text: shortened((await readFile(join(directory, file), 'utf8')).trim()) };
  const by = typeof author === 'string' ? author : author?.name;
  const remark = [by && `by ${by}`, homepage].filter(Boolean).join(', ');
  return {
    title: remark ? `${title} (${remark})` : title,
    text: 'They come without the text of their licence.',
  };
}

/** A text that every Debian system has is not to be repeated. */
function shortened(text) {
  if (!APACHE.test(text)) return text;
  const holder = HOLDER.exec(text)?.[1];
  return [...(holder ? [holder] : []), '/usr/share/common-licenses/Apache-2.0'].join('\n');
}

const metafile = JSON.parse(await readFile(process.argv[2], 'utf8'));
const titles = new Map();
for (const { title, text } of await Promise.all(bundledPackages(metafile).map(noticeOf))) {
  titles.set(text, [...(titles.get(text) ?? []), title]);
}
const notices = [...titles].map(
  ([text, packages]) => `${packages.join('\n')}\n\n${text.replaceAll(/^(?=.)/gm, '    ')}\n`,
);
process.stdout.write([OWN, ...notices].join('\n'));
