import { join } from 'node:path';
import { type FileSystem, writeFileDurably } from '@q/durable-files';
import { type RunReport, reportName } from '@q/pipeline';

/** Name of the report for people, next to the one for programs. */
export const reportPageName = 'q-report.html';

/** Writes both reports into the folder; the one that marks the run as finished is written last. */
export async function writeReport(out: string, report: RunReport, files: FileSystem): Promise<void> {
  // The libraries of the plots take longer to load than everything else.
  const { reportHtml } = await import('./report-html.js');
  await writeFileDurably(join(out, reportPageName), reportHtml(report), { files });
  await writeFileDurably(join(out, reportName), `${JSON.stringify(report, null, 2)}\n`, { files });
}
