/**
 * chart: medians as bars on a logarithmic scale, with a line from the first to the third quartile. SVG, legible on a light and a dark page.
 */
import { figure } from './figures.js';
import type { Bar } from './measurement.js';
import { summarise } from './statistics.js';

const WIDTH = 860;
const LABEL_WIDTH = 300;
const VALUE_WIDTH = 90;
const ROW = 34;
const BAR_HEIGHT = 18;
const TOP = 48;
const BOTTOM = 40;
const STYLE = `text { font: 14px sans-serif; fill: #24292f }
.title { font-weight: bold }
.axis { fill: #57606a; font-size: 12px }
.grid { stroke: #d0d7de }
.other { fill: #8c959f }
.ours { fill: #0969da }
.spread { stroke: #24292f; stroke-width: 2 }`;

export function chart(title: string, bars: readonly Bar[]): string {
  const ordered = [...bars]
    .map((bar) => ({ ...bar, ...summarise(bar.samples) }))
    .sort((one, other) => one.median - other.median);
  const least = Math.floor(Math.log10(Math.min(...ordered.map(({ low }) => low))));
  const most = Math.ceil(Math.log10(Math.max(...ordered.map(({ high }) => high))));
  const plotWidth = WIDTH - LABEL_WIDTH - VALUE_WIDTH;
  const x = (ms: number): number => LABEL_WIDTH + (plotWidth * (Math.log10(ms) - least)) / (most - least);
  const height = TOP + ordered.length * ROW + BOTTOM;
  const decades = Array.from({ length: most - least + 1 }, (_, index) => 10 ** (least + index));
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<style>${STYLE}</style>`,
    `<rect width="${WIDTH}" height="${height}" rx="6" fill="#ffffff"/>`,
    text(16, 28, title, 'title'),
    ...decades.flatMap((ms) => [
      `<line class="grid" x1="${at(x(ms))}" y1="${TOP}" x2="${at(x(ms))}" y2="${height - BOTTOM}"/>`,
      text(x(ms), height - BOTTOM + 18, durationText(ms), 'axis', 'middle'),
    ]),
    ...ordered.flatMap(({ label, median, low, high, isOurs }, index) => {
      const y = TOP + index * ROW + (ROW - BAR_HEIGHT) / 2;
      const middle = y + BAR_HEIGHT / 2;
      return [
        text(LABEL_WIDTH - 12, middle + 5, label, isOurs ? 'title' : '', 'end'),
        `<rect class="${isOurs ? 'ours' : 'other'}" x="${LABEL_WIDTH}" y="${at(y)}" width="${at(x(median) - LABEL_WIDTH)}" height="${BAR_HEIGHT}"/>`,
        `<line class="spread" x1="${at(x(low))}" y1="${at(middle)}" x2="${at(x(high))}" y2="${at(middle)}"/>`,
        text(Math.max(x(median), x(high)) + 8, middle + 5, durationText(median), ''),
      ];
    }),
    '</svg>',
  ];
  return `${lines.join('\n')}\n`;
}

function text(x: number, y: number, content: string, kind: string, anchor = 'start'): string {
  const attributes = `${kind === '' ? '' : ` class="${kind}"`}${anchor === 'start' ? '' : ` text-anchor="${anchor}"`}`;
  return `<text x="${at(x)}" y="${at(y)}"${attributes}>${escaped(content)}</text>`;
}

function durationText(ms: number): string {
  return ms >= 1000 ? `${figure(ms / 1000)} s` : `${figure(ms)} ms`;
}

function at(place: number): string {
  return String(Number(place.toFixed(1)));
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
