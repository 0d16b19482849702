// Builds pytest_llmbench/report/page/static/echarts.min.js and its licenses from what package-lock.json pins.
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';

import { build } from 'esbuild';

const here = new URL('./', import.meta.url);
const target = new URL('../../pytest_llmbench/report/page/static/', here);
const version = JSON.parse(await readFile(new URL('node_modules/echarts/package.json', here))).version;

const { outputFiles } = await build({
  absWorkingDir: here.pathname,
  entryPoints: ['echarts.mjs'],
  bundle: true,
  minify: true,
  write: false,
  format: 'iife',
  globalName: 'echarts',
  target: ['es2020'],
  legalComments: 'none',
  charset: 'ascii',
  define: { 'process.env.NODE_ENV': '"production"' },
  banner: {
    js: `/*! Apache ECharts ${version} (Apache-2.0), with zrender (BSD-3-Clause) and tslib (0BSD): see echarts.LICENSE.txt */`,
  },
});
const code = outputFiles[0].contents;

const texts = [];
for (const [title, path] of [
  ['Apache ECharts', 'echarts/LICENSE'],
  ['Apache ECharts: NOTICE', 'echarts/NOTICE'],
  ['D3, parts of which Apache ECharts holds', 'echarts/licenses/LICENSE-d3'],
  ['zrender', 'zrender/LICENSE'],
  ['tslib', 'tslib/LICENSE.txt'],
]) {
  const text = await readFile(new URL(`node_modules/${path}`, here), 'utf8');
  texts.push(`${'='.repeat(78)}\n${title}\n${'='.repeat(78)}\n\n${text.replaceAll('\r\n', '\n').trim()}\n`);
}

await mkdir(target, { recursive: true });
await writeFile(new URL('echarts.min.js', target), code);
await writeFile(new URL('echarts.LICENSE.txt', target), texts.join('\n'));
const hash = createHash('sha256').update(code).digest('hex');
await writeFile(new URL('echarts.min.js.sha256', here), `${hash}  echarts.min.js\n`);
console.log(`${version}: ${code.length} bytes, ${gzipSync(code, { level: 9 }).length} with gzip, sha256 ${hash}`);
