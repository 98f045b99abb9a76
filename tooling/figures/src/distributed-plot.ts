import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import type { RunStage } from './simulate-run.js';

/** A stage of a simulated run, with the model and the site of the run. */
export interface PlottedStage extends RunStage {
  readonly model: string;
  /** `8 workers, 1 Gb/s, folder` */
  readonly site: string;
}

const colors: Readonly<Record<string, string>> = {
  'filling the store': '#9aa0a6',
  computing: '#1a56c4',
  'reading and writing': '#f29900',
  waiting: '#e8eaed',
  'writing the folder': '#5f6368',
};

/** Time of data-free runs by stage in one self-contained SVG, with a column for each model and a bar for each site. */
export function distributedPlot(stages: readonly PlottedStage[]): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const hours = stages.map((stage) => ({ ...stage, hours: stage.seconds / 3600 }));
  const sites = [...new Set(stages.map(({ site }) => site))];
  const figure = Plot.plot({
    document: document as unknown as Document,
    width: 1000,
    height: 110 + 30 * sites.length,
    marginLeft: 200,
    marginTop: 60,
    style: { background: 'white', fontFamily: 'system-ui, sans-serif', fontSize: '12px' },
    x: { label: 'hours →', grid: true },
    y: { label: null, domain: sites },
    fx: { label: null, padding: 0.08 },
    marks: [
      Plot.barX(hours, {
        ...{ x: 'hours', y: 'site', fx: 'model', order: Object.keys(colors), z: 'name' },
        fill: ({ name }: PlottedStage) => colors[name],
      }),
    ],
  } as Plot.PlotOptions);
  return (figure as unknown as { outerHTML: string }).outerHTML
    .replace('<svg ', '<svg xmlns="http://www.w3.org/2000/svg" ')
    .replace(/<\/svg>\s*$/, `${legend()}</svg>`);
}

/** One row above the panels. Plot's own legend is HTML, which an image file cannot have. */
function legend(): string {
  let x = 200;
  const entries = Object.entries(colors).map(([name, color]) => {
    const at = x;
    x += 40 + 7 * name.length;
    return `<g transform="translate(${at},20)"><rect width="12" height="12" y="-6" fill="${color}"/><text x="18" dy="0.35em">${name}</text></g>`;
  });
  return `<g font-size="12" fill="#202124" text-anchor="start">${entries.join('')}</g>`;
}
