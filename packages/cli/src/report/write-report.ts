import { join } from 'node:path';
import { type FileSystem, writeFileDurably } from '@q/durable-files';
import { type RunReport, reportName } from '@q/pipeline';

/** Name of the report for people, beside the one for programs. */
export const reportPageName = 'q-report.html';

/** Writes both reports into the folder; last the one that says that the run is finished. */
export async function writeReport(out: string, report: RunReport, files: FileSystem): Promise<void> {
  // The plots' libraries take longer to load than everything else.
  const { reportHtml } = await import('./report-html.js');
  await writeFileDurably(join(out, reportPageName), reportHtml(report), { files });
  await writeFileDurably(join(out, reportName), `${JSON.stringify(report, null, 2)}\n`, { files });
}
