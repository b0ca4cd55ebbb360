/**
 * report: what a run of the lab found, for people (Markdown) and for programs (JSON).
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Subject } from './scenario.js';
import type { Check } from './verdict.js';

export interface Outcome {
  readonly scenario: string;
  readonly title: string;
  readonly subject: Subject;
  /** It passes when the lab catches it: a control, or an unsafe set-up. */
  readonly mustBeCaught: boolean;
  readonly checks: readonly Check[];
  readonly facts: Readonly<Record<string, string | number>>;
  /** Why the scenario could not be played to its end. */
  readonly broken: string | undefined;
  readonly seconds: number;
  readonly lines: readonly string[];
}

export function isPassed({ mustBeCaught, checks, broken }: Outcome): boolean {
  const violated = checks.some((check) => !check.held);
  return mustBeCaught ? violated : !violated && broken === undefined;
}

export function headline(outcome: Outcome): string {
  const { scenario, subject, mustBeCaught, checks, broken, seconds } = outcome;
  const word = isPassed(outcome) ? 'ok    ' : 'FAILED';
  const time = `${seconds.toFixed(0)} s`;
  if (!mustBeCaught) return `${word} ${scenario}  (${checks.length} checks, ${time})`;
  const caught = checks.find((check) => !check.held);
  const what = caught ? `caught: ${caught.name}: ${caught.seen}` : `NOT caught${broken ? `: ${broken}` : ''}`;
  const who = subject === 'control' ? ', control: a plain rename publisher' : '';
  return `${word} ${scenario}${who}  (${what}, ${time})`;
}

/** What went wrong, a line each. */
export function details({ checks, broken }: Outcome): string[] {
  const violated = checks.filter((check) => !check.held).map((check) => `${check.name}: ${check.seen}`);
  return broken === undefined ? violated : [...violated, `not played to its end: ${broken}`];
}

/** @param seconds that all of them took */
export async function writeReport(
  directory: string,
  outcomes: readonly Outcome[],
  seconds: number,
): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'lab.json'), `${JSON.stringify(outcomes, null, 2)}\n`);
  await writeFile(join(directory, 'lab.md'), markdown(outcomes, seconds));
}

function markdown(outcomes: readonly Outcome[], seconds: number): string {
  const passed = outcomes.filter(isPassed).length;
  return [
    '# Fault injection on a real NFS lab\n',
    `${passed} passed, ${outcomes.length - passed} failed, in ${(seconds / 60).toFixed(1)} minutes. ` +
      'A control, and a set-up that is known to be unsafe, passes when the lab catches it.\n',
    ...overview(outcomes),
    ...outcomes.map(section),
  ].join('\n');
}

/** A row for each scenario. */
function overview(outcomes: readonly Outcome[]): string[] {
  const rows = outcomes
    .filter(({ subject }) => subject === 'product')
    .map((outcome) => {
      const control = outcomes.find(
        ({ scenario, subject }) => scenario === outcome.scenario && subject === 'control',
      );
      return `| ${outcome.scenario} | ${cell(outcome.title)} | ${result(outcome)} | ${control ? result(control) : ''} |`;
    });
  return ['| | what happens | swtpm-mirror | plain publisher |', '| --- | --- | --- | --- |', ...rows, ''];
}

/** What it came to, in a few words: the first guarantee that was violated, or how many checks held. */
function result(outcome: Outcome): string {
  const { checks, broken, mustBeCaught } = outcome;
  const caught = checks.find((check) => !check.held);
  if (caught) return `${mustBeCaught ? 'caught' : '**FAILED**'}: ${cell(caught.name)}`;
  if (broken !== undefined) return '**not played to its end**';
  return mustBeCaught ? '**not caught**' : `${checks.length} checks held`;
}

function section(outcome: Outcome): string {
  const { scenario, subject, title, checks, facts, broken, seconds } = outcome;
  const rows = checks.map(
    (check) => `| ${check.held ? 'held' : '**violated**'} | ${cell(check.name)} | ${cell(check.seen)} |`,
  );
  const measured = Object.entries(facts).map(([name, value]) => `- ${name}: ${value}`);
  return [
    `## ${scenario}${subject === 'control' ? ', control' : ''}: ${isPassed(outcome) ? 'passed' : 'FAILED'}\n`,
    `${title}. ${seconds.toFixed(0)} s.\n`,
    ...(rows.length > 0 ? ['| | check | seen |', '| --- | --- | --- |', ...rows, ''] : []),
    ...(measured.length > 0 ? [...measured, ''] : []),
    ...(broken === undefined ? [] : [`Not played to its end: ${broken}\n`]),
  ].join('\n');
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}
