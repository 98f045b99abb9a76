import type { RankCorrelation } from '@q/study';
import type { StudyReport } from '../study/study-report.js';
import { escapeHtml, figure, page } from './page.js';
import { linePlot, lossByWidthPlot, misalignmentPlot, type NameStyles, planePlot, stylesFor } from './study-plots.js';

/** A study as one self-contained page: no script, no request, light and dark, printable. */
export function studyHtml(report: StudyReport): string {
  const { model, data, samples, length, heldOut, originalNll, methods, summaries, conclusions, results, quick } =
    report;
  const styles = stylesFor([...methods.map(({ name }) => name), 'random direction']);
  const groups = [...new Set(summaries.map(({ group }) => group))];
  const own = results.filter(({ job }) => job.samples === samples);
  const data512 = results.filter(({ job }) => job.samples !== samples);
  return page(
    'Local and global losses',
    `<h1>Local and global losses</h1>
<p><code>${escapeHtml(model)}</code>, ${samples} windows of ${length} tokens of ${escapeHtml(data)} for every method, scored on ${heldOut} held-out windows. The original's loss is ${originalNll.toFixed(4)} nats per token, a perplexity of ${Math.exp(originalNll).toFixed(3)}.</p>
${quick ? '<p>This was a quick study: one seed, and short trainings. Take it as a first look.</p>' : ''}
<h2>Results</h2>
<ul>${conclusions.map((text) => `<li>${escapeHtml(text)}</li>`).join('')}</ul>
<h2>Loss by width</h2>
${legend(
  methods.map(({ name }) => name),
  styles,
)}
${groups
  .map((group) =>
    figure(
      lossByWidthPlot(summaries, group, originalNll, styles),
      `${groupName(group)}: each method at its best setting, the mean over its seeds. Bars are ranges over the seeds.`,
    ),
  )
  .join('')}
${table(report)}
<h2>Does a lower layer error mean a lower loss?</h2>
<p>Each point is a run. With aligned objectives the points of a width rise from left to right.</p>
${summaries
  .map(({ bits, group, misalignment, weightedMisalignment }) => {
    const here = own.filter(({ job }) => job.bits === bits && job.group === group);
    return `<h3>${bits} bits, ${groupName(group).toLowerCase()}</h3><div class="pair">${figure(
      misalignmentPlot(here, originalNll, styles, false),
      `Rank correlation ${shown(misalignment)}`,
    )}${figure(
      misalignmentPlot(here, originalNll, styles, true),
      `Weighted by gradients of the end loss: rank correlation ${shown(weightedMisalignment)}`,
    )}</div>`;
  })
  .join('')}
${modulesSection(report)}
<h2>The loss around the model</h2>
<p>The loss rises by ${report.landscapes.basin.rise} nats at a distance of ${report.landscapes.basin.radius.toPrecision(3)} along random directions. Round-to-nearest moves the weights by ${report.landscapes.displacement.map(({ bits, ratio }) => `${ratio.toFixed(2)} of it at ${bits} bits`).join(', ')}.</p>
${report.landscapes.widths
  .map(
    ({ bits, group, lines, plane }) =>
      `<h3>${bits} bits, ${groupName(group).toLowerCase()}</h3>${legend(
        lines.map(({ name }) => name),
        styles,
      )}${figure(
        linePlot(lines, originalNll, styles),
        `Distances: ${lines.map(({ name, distance }) => `${name} ${distance.toPrecision(3)}`).join(', ')}.`,
      )}${plane ? figure(planePlot(plane), 'Loss on the plane through the original and two solutions.') : ''}`,
  )
  .join('')}
${data512.length > 0 ? dataSection(report) : ''}
<h2>Methods</h2>
<ul>${methods.map(({ name, objective, about }) => `<li><b>${name}</b> (${objective}): ${escapeHtml(about)}</li>`).join('')}</ul>
<p>The protocol is this toolkit's. The abstract of arXiv 2410.14570 makes the claim; its settings are not known to us.</p>
<p>All runs are in study.json and study.csv next to this page.</p>`,
  );
}

const groupName = (group: number) => (group === -1 ? 'One scale per channel' : `Groups of ${group}`);

function shown({ value, interval, pairs }: RankCorrelation): string {
  if (value === undefined) return `is not defined for ${pairs} runs`;
  return `${value.toFixed(2)}${interval ? ` (95 % interval ${interval[0].toFixed(2)} to ${interval[1].toFixed(2)})` : ''}, ${pairs} runs`;
}

function legend(names: readonly string[], styles: NameStyles): string {
  const marks: Readonly<Record<string, string>> = {
    ...{ circle: '●', square: '■', triangle: '▲', diamond: '◆', star: '★', cross: '✚', wye: 'Y', asterisk: '✱' },
  };
  return `<p>${names
    .map(
      (name) => `<span style="color:${styles.colour(name)}">${marks[styles.symbol(name)]}</span> ${escapeHtml(name)}`,
    )
    .join(' &nbsp; ')}</p>`;
}

function table({ summaries, originalNll }: StudyReport): string {
  const head = [
    'bits',
    'group',
    'method',
    'setting',
    'seeds',
    'loss over original',
    'range',
    'KL',
    'layer error',
    'weighted',
    'distance',
    'seconds',
  ];
  const rows = summaries.flatMap(({ bits, group, methods }) =>
    methods.map((method) => [
      ...[
        `${bits}`,
        group === -1 ? 'channel' : `${group}`,
        method.method,
        settingOf(method.setting),
        `${method.seeds}`,
      ],
      (method.nll.mean - originalNll).toFixed(4),
      `${(method.nll.min - originalNll).toFixed(4)} to ${(method.nll.max - originalNll).toFixed(4)}`,
      ...[method.kl.mean.toFixed(5), method.layerError.toExponential(2), method.weightedLayerError.toExponential(2)],
      ...[method.distance.toPrecision(3), method.seconds.toFixed(1)],
    ]),
  );
  return tableOf(head, rows);
}

function modulesSection({ layers }: StudyReport): string {
  const known = layers.filter(({ correlation }) => correlation.value !== undefined);
  if (known.length === 0) return '';
  const rows = known
    .slice(0, 20)
    .map(({ module, correlation, share }) => [module, shown(correlation), `${(100 * share).toFixed(1)} %`]);
  return `<h2>Modules whose error matters</h2><p>Rank correlation of a module's own error with the loss at the lowest width, the ${rows.length} highest.</p>${tableOf(['layer', 'correlation', 'share of the summed error'], rows)}`;
}

function dataSection({ results, samples, originalNll }: StudyReport): string {
  const low = Math.min(...results.map(({ job }) => job.bits));
  const rows = results
    .filter(({ job }) => job.samples !== samples && job.bits === low)
    .map(({ job, nll, kl }) => [`${job.samples}`, job.method, (nll - originalNll).toFixed(4), kl.toFixed(5)]);
  return `<h2>More or less text</h2>${tableOf(['windows', 'method', 'loss over original', 'KL'], rows)}`;
}

const settingOf = (setting: Readonly<Record<string, number | string>>) =>
  Object.entries(setting)
    .map(([key, value]) => `${key} ${value}`)
    .join(', ') || 'default';

function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (row: readonly string[], tag: string) =>
    row.map((cell) => `<${tag} class="text">${escapeHtml(cell)}</${tag}>`).join('');
  return `<div class="scroll"><table><thead><tr>${cells(head, 'th')}</tr></thead><tbody>${rows
    .map((row) => `<tr>${cells(row, 'td')}</tr>`)
    .join('\n')}</tbody></table></div>`;
}
