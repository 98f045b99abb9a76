const style = `
:root { --background: #fbfaf8; --surface: #fff; --text: #1d1f23; --muted: #667; --line: #dedcd6; --accent: #2457c5; --muted-mark: #9a9aa3; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --background: #16181d; --surface: #1d2026; --text: #e8e8ea; --muted: #9aa0ab; --line: #33373f; --accent: #7ea6ff; --muted-mark: #7b808b; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--background); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 17px; margin: 40px 0 12px; }
p { margin: 4px 0; color: var(--muted); overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; margin-top: 24px; }
.card { background: var(--surface); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px; }
.card b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; }
.card span { color: var(--muted); font-size: 13px; }
figure { margin: 0; background: var(--surface); border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px; overflow-x: auto; }
figcaption { font-size: 13px; color: var(--muted); margin-top: 8px; }
figure svg { max-width: 100%; height: auto; display: block; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 12px; }
.pair figure svg { margin: 0 auto; }
.dot { display: inline-block; width: 10px; height: 10px; border-radius: 50%; border: 1.5px solid var(--muted-mark); vertical-align: -1px; margin: 0 4px 0 10px; }
.dot.own { background: var(--accent); border-color: var(--accent); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--surface); }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
tr:last-child td { border-bottom: 0; }
th { color: var(--muted); font-weight: 500; }
li { margin: 4px 0; }
h3 { font-size: 15px; margin: 24px 0 8px; }
@media print { :root { --background: #fff; --surface: #fff; --text: #000; --muted: #444; } figure, table { break-inside: avoid; } }
code { font: 13px ui-monospace, monospace; }
`;

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
export const escapeHtml = (text: string) => text.replace(/[&<>"]/g, (character) => escapes[character]);

export const figure = (plot: string, caption: string) => `<figure>${plot}<figcaption>${caption}</figcaption></figure>`;

/** A self-contained page: no script, no request, light and dark, printable. */
export function page(title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>${escapeHtml(title)}</title><style>${style}</style></head>
<body><main>
${body}
</main></body></html>
`;
}
