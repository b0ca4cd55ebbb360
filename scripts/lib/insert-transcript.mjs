/**
 * insert-transcript: put what a script printed into a document, between its markers.
 *
 *   node scripts/lib/insert-transcript.mjs DOCUMENT NAME TRANSCRIPT
 *
 * The markers are `<!-- NAME -->` and `<!-- /NAME -->`.
 */
import { readFile, writeFile } from 'node:fs/promises';

const [documentPath, name, transcriptPath] = process.argv.slice(2);
const document = await readFile(documentPath, 'utf8');
const transcript = (await readFile(transcriptPath, 'utf8')).trimEnd();
const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
const from = document.indexOf(begin);
const to = document.indexOf(end);
if (from < 0 || to < from) {
  console.error(`insert-transcript: ${documentPath} has no ${begin} followed by ${end}`);
  process.exit(1);
}
const block = `${begin}\n\n\`\`\`\n${transcript}\n\`\`\`\n\n`;
await writeFile(documentPath, document.slice(0, from) + block + document.slice(to));
