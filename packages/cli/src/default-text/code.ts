import type { Grammar } from './grammar.js';

/** Rules that stay the same within a program: its names. */
export const identifiers = ['name', 'noun', 'arg', 'arg2'] as const;

/** Programs, data, markup, logs and mathematics. */
export const code: Grammar = {
  document: [
    '{python}',
    '{javascript}',
    '{c}',
    '{rust}',
    '{sql}',
    '{html}',
    '{json}',
    '{markdown}',
    '{shell}',
    '{math}',
    '{csv}',
    '{log}',
    '{latex}',
    '{python}',
    '{javascript}',
    '{markdown}',
  ],
  python: [
    'import {module}\nfrom {module} import {name}\n\n\ndef {name}_{noun}({arg}, {arg2}=None):\n    """Return the {noun} of every {arg} that is not empty."""\n    result = []\n    for i, item in enumerate({arg}):\n        if item is None or len(item) < {#1-9}:\n            continue\n        result.append(item.{name}({#0-99}))\n    return sorted(result, key=lambda x: x[{#0-2}])\n\n\nif __name__ == "__main__":\n    print({name}_{noun}(["{noun}", "{noun}"]))\n',
    'class {^noun}{^noun}:\n    def __init__(self, {arg}, size={#2-64}):\n        self.{arg} = {arg}\n        self.size = size\n        self._{noun} = {}\n\n    def {name}(self, key, default=0.{#1-9}):\n        try:\n            return self._{noun}[key]\n        except KeyError as error:\n            raise ValueError(f"no {noun} for {key!r}") from error\n\n    @property\n    def {noun}(self):\n        return self.size * {#2-9} + 1\n',
    ">>> {arg} = [{#1-99}, {#1-99}, {#1-99}]\n>>> sum({arg}) / len({arg})\n>>> {arg}[-1]\nTraceback (most recent call last):\n  File \"<stdin>\", line 1, in <module>\nTypeError: unsupported operand type(s) for +: 'int' and 'str'\n",
    'async def {name}_all(urls, limit={#2-20}):\n    # At most `limit` requests are under way at a time.\n    semaphore = asyncio.Semaphore(limit)\n    async with aiohttp.ClientSession() as session:\n        tasks = [{name}(session, url, semaphore) for url in urls]\n        return await asyncio.gather(*tasks, return_exceptions=True)\n',
  ],
  javascript: [
    "import { {name} } from './{noun}.js';\n\nexport async function {name}{^noun}({arg}, options = {}) {\n  const { limit = {#10-100}, signal } = options;\n  const response = await fetch('/api/{noun}s/' + {arg}, { signal });\n  if (!response.ok) throw new Error('HTTP ' + response.status);\n  const items = await response.json();\n  return items.filter((item) => item.{noun} !== undefined).slice(0, limit);\n}\n",
    "const {noun}s = new Map();\n\nfunction {name}(key, value) {\n  if (!{noun}s.has(key)) {noun}s.set(key, []);\n  {noun}s.get(key).push({ value, at: {#100-999} });\n  return {noun}s.size > {#2-50} ? null : value;\n}\n\ndocument.querySelector('#{noun}').addEventListener('click', (event) => {\n  event.preventDefault();\n  {name}('{noun}', event.target.value);\n});\n",
    'interface {^noun} {\n  readonly id: number;\n  readonly {noun}: string | undefined;\n  {name}(input: readonly string[]): Promise<void>;\n}\n\nexport type {^noun}Key = keyof {^noun};\n',
  ],
  c: [
    '#include <stdio.h>\n#include <stdlib.h>\n\nstatic int {name}_{noun}(const double *{arg}, size_t n, double *out)\n{\n    if (n == 0)\n        return -1;\n    double sum = 0.0;\n    for (size_t i = 0; i < n; i++)\n        sum += {arg}[i] * {arg}[i];\n    *out = sum / (double)n;\n    return 0;\n}\n\nint main(int argc, char **argv)\n{\n    double x[{#4-9}] = { {#1-9}.{#1-9}, -{#1-9}.5 };\n    double y;\n    if ({name}_{noun}(x, {#2-4}, &y) != 0)\n        exit(EXIT_FAILURE);\n    printf("%.3f\\n", y);\n    return 0;\n}\n',
    'public class {^noun}{^name} {\n    private final List<String> {noun}s = new ArrayList<>();\n\n    public int {name}(int {arg}) {\n        switch ({arg} % {#3-5}) {\n            case 0: return {#10-99};\n            case 1: {noun}s.add("{noun}"); break;\n            default: throw new IllegalArgumentException("{arg}: " + {arg});\n        }\n        return {noun}s.size();\n    }\n}\n',
  ],
  rust: [
    'use std::collections::HashMap;\n\n#[derive(Debug, Clone)]\npub struct {^noun} {\n    pub id: u64,\n    {arg}: Option<String>,\n}\n\nimpl {^noun} {\n    pub fn {name}(&self, {arg2}: &[f32]) -> Result<f32, String> {\n        match {arg2}.iter().copied().reduce(f32::max) {\n            Some(value) if value > {#0-9}.0 => Ok(value),\n            Some(_) => Ok(0.0),\n            None => Err(format!("no {noun} for {:?}", self.{arg})),\n        }\n    }\n}\n',
    'package main\n\nimport "fmt"\n\nfunc {name}({arg} []int) (total int, err error) {\n\tfor _, v := range {arg} {\n\t\tif v < 0 {\n\t\t\treturn 0, fmt.Errorf("negative {noun}: %d", v)\n\t\t}\n\t\ttotal += v\n\t}\n\treturn total, nil\n}\n',
  ],
  sql: [
    "SELECT {noun}.id, COUNT(*) AS total, AVG({noun}.{arg}) AS mean\nFROM {noun}s AS {noun}\nLEFT JOIN {noun}s ON {noun}.id = {arg2}_id\nWHERE created_at >= '20{#10-25}-0{#1-9}-{#10-28}' AND status IN ('open', 'closed')\nGROUP BY {noun}.id\nHAVING COUNT(*) > {#2-20}\nORDER BY total DESC\nLIMIT {#5-50};\n",
  ],
  html: [
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n  <meta charset="utf-8">\n  <title>{^noun} {name}</title>\n  <style>\n    .{noun} { color: #{#100-999}; margin: 0 {#1-9}px; display: flex; }\n  </style>\n</head>\n<body>\n  <h1 class="{noun}">{^noun}</h1>\n  <ul>\n    <li><a href="/{noun}s/{#1-99}">{^noun} {#1-99}</a></li>\n    <li><img src="{noun}.png" alt="a {noun}" width="{#100-800}"></li>\n  </ul>\n  <form action="/{name}" method="post"><input name="{arg}" required><button>Send</button></form>\n</body>\n</html>\n',
    '<?xml version="1.0" encoding="UTF-8"?>\n<{noun}s xmlns="urn:example:{noun}">\n  <{noun} id="{#1-999}" type="{name}">\n    <{arg}>{#1-99}.{#10-99}</{arg}>\n    <!-- {name} later -->\n  </{noun}>\n</{noun}s>\n',
  ],
  json: [
    '{\n  "name": "{noun}-{name}",\n  "version": "{#0-9}.{#0-20}.{#0-9}",\n  "{noun}s": [\n    { "id": {#1-999}, "{arg}": "{name}", "active": true, "score": 0.{#10-99} },\n    { "id": {#1-999}, "{arg}": null, "active": false, "score": -{#1-9}.5e-3 }\n  ],\n  "scripts": { "{name}": "node {noun}.js --{arg} {#1-9}" }\n}\n',
    '# settings of the {noun}\n{noun}:\n  enabled: true\n  {arg}: {#1-99}\n  {noun}s:\n    - name: {name}\n      timeout: {#1-60}s\n    - name: {name}2\n      path: /var/lib/{noun}/{name}.db\n',
  ],
  markdown: [
    '# {^noun}-{name}\n\nA small library that can **{name}** every `{noun}` in a list.\n\n## Installation\n\n```bash\nnpm install {noun}-{name}\n```\n\n## Usage\n\n- Call `{name}({arg})` with at least {#2-9} items.\n- See [the guide](https://example.org/{noun}/{name}) for *all* options.\n\n| Option | Default | Meaning |\n| --- | ---: | --- |\n| `{arg}` | {#1-99} | size of the {noun} |\n| `{arg2}` | `null` | what to {name} first |\n\n> Note: this changed in version {#1-9}.{#0-9}.\n',
    '## Changelog\n\n### {#1-9}.{#0-20}.0 (20{#10-25}-1{#0-2}-{#10-28})\n\n* fix: do not {name} an empty {noun} (#{#10-999})\n* feat: add `--{arg}` to `{name}`\n* docs: explain how a {noun} is found\n\n1. First open the {noun}.\n2. Then {name} it.\n   - [x] done\n   - [ ] test with {#10-99} files\n',
  ],
  shell: [
    '#!/usr/bin/env bash\nset -euo pipefail\n\nfor file in "$1"/*.{noun}; do\n  if [[ ! -s "$file" ]]; then\n    echo "empty: $file" >&2\n    continue\n  fi\n  sed -e \'s/{arg}/{arg2}/g\' "$file" | sort -u > "/tmp/{name}.txt"\ndone\n\ngit commit -m "{name}: update {noun}" && git push origin main\n',
  ],
  math: [
    "Let $f(x) = {#2-9}x^2 - {#2-9}x + {#1-9}$. Then $f'(x) = 2 \\cdot {#2-9} x - {#2-9}$, and the minimum is where the derivative is zero.\nWe have {#12-99} + {#12-99} = ?, so first add the tens, then the ones. Q: A train travels {#60-300} km in {#2-6} hours. What is its speed? A: Divide the distance by the time.\nTherefore x ≤ {#1-9} or x > {#10-20}, which proves the claim. ∎\n",
  ],
  csv: [
    'id,name,{arg},{noun},date\n{#1-99},{name},{#1-99}.{#10-99},{noun},20{#10-25}-0{#1-9}-1{#0-9}\n{#1-99},{name},-{#1-9}.0,{noun},20{#10-25}-0{#1-9}-2{#0-8}\n{#1-99},"{noun}, {name}",,{noun},20{#10-25}-1{#0-2}-0{#1-9}\n',
  ],
  log: [
    '20{#20-25}-0{#1-9}-1{#0-9}T{#10-23}:{#10-59}:{#10-59}Z INFO  {noun}.{name}: started in {#2-900} ms (pid {#100-9999})\n20{#20-25}-0{#1-9}-1{#0-9}T{#10-23}:{#10-59}:{#10-59}Z WARN  {noun}: retry {#1-5} of 5, connection to 10.0.{#0-99}.{#1-254}:{#1000-9999} refused\n20{#20-25}-0{#1-9}-1{#0-9}T{#10-23}:{#10-59}:{#10-59}Z ERROR {noun}.{name}: timeout after {#10-90}s\n',
  ],
  latex: [
    '\\begin{theorem*}\nEvery {noun} with at least $n \\ge {#2-9}$ points has a unique {noun}.\n\\end{theorem*}\n\\textit{Proof.} Suppose not. Then $\\sum_{i=1}^n a_i^2 < \\frac{1}{{#2-9}} \\int_0^1 g(t)\\,dt$, a contradiction.\n',
  ],
  module: ['os', 'json', 'math', 'collections', 'itertools', 'numpy', 'pathlib', 'datetime'],
  name: [
    'parse',
    'merge',
    'update',
    'find',
    'load',
    'split',
    'render',
    'count',
    'send',
    'remove',
    'encode',
    'validate',
    'sort',
    'convert',
  ],
  noun: [
    'user',
    'token',
    'node',
    'order',
    'image',
    'record',
    'session',
    'matrix',
    'buffer',
    'message',
    'invoice',
    'graph',
    'event',
    'file',
    'sensor',
  ],
  arg: ['values', 'items', 'path', 'width', 'data', 'rows', 'query', 'count', 'index'],
  arg2: ['other', 'limit', 'parent', 'offset', 'weights', 'target'],
};
