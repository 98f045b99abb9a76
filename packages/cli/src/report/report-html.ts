import type { RunProfile, RunReport } from '@q/pipeline';
import { peakText, profileTable } from '../commands/run-profile.js';
import { formatBytes, formatSeconds } from '../units.js';
import { escapeHtml, figure, page } from './page.js';
import { barPlot, errorPlot } from './plots.js';

const card = (value: string, label: string) =>
  `<div class="card"><b>${escapeHtml(value)}</b><span>${escapeHtml(label)}</span></div>`;

/** The report as one self-contained page: no script, no request, light and dark. */
export function reportHtml(report: RunReport): string {
  const { evaluation, bytesBefore, bytesAfter, bitsPerWeight, layers } = report;
  const cards = [
    card(formatBytes(bytesAfter), `${((100 * bytesAfter) / bytesBefore).toFixed(1)} % of ${formatBytes(bytesBefore)}`),
    card(bitsPerWeight.toFixed(3), 'bits per weight of the quantized linears'),
    card(`${(100 * meanShare(layers)).toFixed(0)} %`, "layer error, as a share of round-to-nearest's (geometric mean)"),
    ...(evaluation
      ? [
          card(evaluation.after.perplexity.toFixed(3), `perplexity, before ${evaluation.before.perplexity.toFixed(3)}`),
          card(formatSmall(evaluation.after.kl as number), 'KL to the original, nats per token'),
        ]
      : []),
  ];
  const plots = [
    figure(barPlot(pair(bytesBefore, bytesAfter, formatBytes)), 'Size of all tensors'),
    ...(evaluation
      ? [
          figure(
            barPlot(pair(evaluation.before.perplexity, evaluation.after.perplexity, (x) => x.toFixed(3))),
            `Perplexity on ${evaluation.windows} windows of ${evaluation.length} tokens; lower is better`,
          ),
          figure(
            barPlot(pair(0, evaluation.after.kl as number, formatSmall)),
            `KL divergence to the original; the same top token at ${(100 * (evaluation.after.topAgreement as number)).toFixed(1)} % of the positions`,
          ),
        ]
      : []),
  ];
  const columns = tableColumns.filter(({ always, cell }) => always || new Set(layers.map(cell)).size > 1);
  return page(
    'Quantization report',
    `<h1>Quantization report</h1>
<p><code>${escapeHtml(report.source)}</code> → <code>${escapeHtml(report.out)}</code></p>
<p>${escapeHtml([...new Set(layers.map(({ method, scheme }) => `${method}, ${scheme}`))].join('; '))}${report.calibration ? `; calibrated on ${report.calibration.samples} windows of ${report.calibration.length} tokens of ${escapeHtml(report.calibration.name)}` : ''}</p>
<div class="cards">${cards.join('')}</div>
<h2>Before and after</h2>
<div class="pair">${plots.join('')}</div>
${layers.length > 0 ? moduleSections(report, columns) : ''}
${report.profile ? profileSection(report.profile) : ''}
<h2>Notes</h2>
${report.notes.length > 0 ? `<ul>${report.notes.map((note) => `<li>${escapeHtml(note)}</li>`).join('')}</ul>` : '<p>Everything was done as requested.</p>'}
<h2>How it was made</h2>
<p>${escapeHtml(
      Object.entries(report.environment)
        .map(([key, value]) => `${key} ${value}`)
        .join(', '),
    )}; ${escapeHtml(formatSeconds(report.seconds))}${report.resumed ? ', resumed' : ''}</p>
<p><code>${escapeHtml(JSON.stringify(report.recipe))}</code></p>
`,
  );
}

/** Plot and table of the quantized modules; a run that only rewrites has none. */
function moduleSections(report: RunReport, columns: readonly Column[]): string {
  return `<h2>Error of each module</h2>
${figure(errorPlot(report), '<span class="dot own"></span>as written <span class="dot"></span>round-to-nearest; a line joins the two. Further left is better.')}
<h2>Modules</h2>
<div class="scroll"><table><thead><tr>${columns.map(({ title, text }) => `<th${text ? ' class="text"' : ''}>${title}</th>`).join('')}</tr></thead><tbody>
${report.layers.map((row) => `<tr>${columns.map(({ cell, text }) => `<td${text ? ' class="text"' : ''}>${escapeHtml(cell(row))}</td>`).join('')}</tr>`).join('\n')}
</tbody></table></div>`;
}

/** The times of the stages. */
function profileSection(profile: RunProfile): string {
  const [header, ...rows] = profileTable(profile);
  const cells = (row: readonly string[], tag: string) =>
    row.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join('');
  return `<h2>Time</h2>
<div class="scroll"><table><thead><tr>${cells(header, 'th')}</tr></thead><tbody>
${rows.map((row) => `<tr>${cells(row, 'td')}</tr>`).join('\n')}
</tbody></table></div>
<p>${escapeHtml(peakText(profile))}</p>`;
}

function pair(before: number, after: number, format: (value: number) => string) {
  return [
    { label: 'before', value: before, text: format(before) },
    { label: 'after', value: after, text: format(after) },
  ];
}

type Module = RunReport['layers'][number];

interface Column {
  readonly title: string;
  readonly text?: boolean;
  /** Also shown when its value is the same for every module. */
  readonly always?: boolean;
  readonly cell: (module: Module) => string;
}

const tableColumns: readonly Column[] = [
  { title: 'module', text: true, always: true, cell: ({ module }) => module },
  { title: 'shape', text: true, always: true, cell: ({ shape }) => shape.join(' × ') },
  { title: 'scheme', text: true, cell: ({ scheme }) => scheme },
  { title: 'method', text: true, cell: ({ method }) => method },
  { title: 'before', always: true, cell: ({ bytesBefore }) => formatBytes(bytesBefore) },
  { title: 'after', always: true, cell: ({ bytesAfter }) => formatBytes(bytesAfter) },
  { title: 'tokens seen', always: true, cell: ({ tokens }) => (tokens ? `${tokens}` : 'none') },
  { title: 'error', always: true, cell: ({ error }) => error.toExponential(2) },
  { title: 'round-to-nearest', always: true, cell: ({ rtnError }) => rtnError.toExponential(2) },
  {
    title: 'share',
    always: true,
    cell: ({ error, rtnError }) => (rtnError > 0 ? `${((100 * error) / rtnError).toFixed(0)} %` : ''),
  },
];

/** Geometric mean of the error over that of round-to-nearest; modules without any error do not count. */
function meanShare(layers: readonly Module[]): number {
  const logs = layers.filter(({ error, rtnError }) => error > 0 && rtnError > 0);
  return Math.exp(logs.reduce((sum, { error, rtnError }) => sum + Math.log(error / rtnError), 0) / (logs.length || 1));
}

/** Three digits, for any size: `0.0123`, `1.49e-5`. */
function formatSmall(x: number): string {
  return x === 0 ? '0' : Math.abs(x) < 1e-3 ? x.toExponential(2) : x.toPrecision(3);
}
