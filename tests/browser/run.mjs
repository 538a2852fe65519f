// Runs the browser cells: `node run.mjs [--deep] [word...]`. LIVEKIT_URL names another server.
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Call } from './lib/call.mjs';
import { servePage, startBrowser } from './lib/pages.mjs';
import { startPlanes } from './lib/planes.mjs';
import { startServer } from './lib/server.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const deep = process.argv.includes('--deep');
const words = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const CELL_TIMEOUT_MS = deep ? 600_000 : 150_000;

/// What a cell is given: one server and one page host for all, browsers started when first needed.
class Context {
  browsers = new Map();
  calls = [];
  ends = [];
  /// Those of the cell's own.
  servers = [];

  constructor(server, site) {
    Object.assign(this, { server, site, deep, figures: [] });
  }

  async browser(name) {
    if (!this.browsers.has(name)) this.browsers.set(name, startBrowser(name));
    return this.browsers.get(name);
  }

  call(options) {
    const call = new Call(this, options);
    this.calls.push(call);
    return call;
  }

  /// A server of the cell's own, stopped with the cell.
  async startServer(options) {
    if (process.env.LIVEKIT_URL) this.skip('needs a server of its own, and LIVEKIT_URL names one');
    const own = await startServer(options);
    this.servers.push(own);
    this.atEnd(() => own.stop('SIGKILL'));
    return own;
  }

  /// The same in two processes, data plane and control plane.
  async startPlanes(options) {
    if (process.env.LIVEKIT_URL) this.skip('needs a server of its own, and LIVEKIT_URL names one');
    const own = await startPlanes(options);
    this.servers.push(own);
    this.atEnd(own.stop);
    return own;
  }

  /// Runs `end` when the cell is over, last come first.
  atEnd(end) {
    this.ends.unshift(end);
  }

  /// A measured value, printed beside the cell's name.
  figure(name, value, unit = '') {
    this.figures.push(`${name} ${typeof value === 'number' ? Math.round(value * 100) / 100 : value}${unit}`);
  }

  skip(reason) {
    const skip = new Error(reason);
    skip.skip = true;
    throw skip;
  }
}

function timeout(promise, ms) {
  let timer;
  return Promise.race([
    promise,
    new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`cell took over ${ms} ms`)), ms); }),
  ]).finally(() => clearTimeout(timer));
}

const counts = { passed: 0, failed: 0, skipped: 0 };
/// Cells that did not pass at the first attempt.
const again = [];
const files = (await readdir(join(here, 'cells'))).filter((file) => file.endsWith('.mjs')).sort();
const cells = [];
for (const file of files) {
  const { default: list } = await import(pathToFileURL(join(here, 'cells', file)));
  for (const cell of list) cells.push({ ...cell, name: `${file.replace('.mjs', '')}: ${cell.name}` });
}
const wanted = cells.filter((cell) =>
  (deep || !cell.deep) && (words.length === 0 || words.some((word) => cell.name.includes(word))));

const server = await startServer();
const site = await servePage();
const context = new Context(server, site);
/// Runs a cell once. True unless it failed.
async function attempt(cell, failure) {
  context.figures = [];
  const start = Date.now();
  try {
    await timeout(cell.run(context), cell.timeoutMs ?? CELL_TIMEOUT_MS);
    counts.passed += 1;
    console.log(`ok    ${cell.name} (${((Date.now() - start) / 1000).toFixed(1)} s) ${context.figures.join(', ')}`);
    return true;
  } catch (error) {
    if (error.skip) {
      counts.skipped += 1;
      console.log(`skip  ${cell.name}: ${error.message}`);
      return true;
    }
    console.log(`${failure}  ${cell.name}: ${error.message} ${context.figures.join(', ')}`);
    console.log(context.calls.map((call) => call.logs()).join('\n'));
    for (const { log } of context.servers.length > 0 ? context.servers : [server]) {
      console.log(`--- server\n${log.slice(-30).join('\n')}`);
    }
    return false;
  } finally {
    for (const call of context.calls.splice(0)) await call.close();
    context.servers = [];
    for (const end of context.ends.splice(0)) await end().catch((error) => console.log(`      at the end: ${error.message}`));
  }
}

for (const cell of wanted) {
  // Cells measure times beside a browser's own work: a machine that stalled once does not make a
  // failure, and one that always fails does. What needed a second attempt is counted and told.
  if (await attempt(cell, 'AGAIN')) continue;
  again.push(cell.name);
  if (!await attempt(cell, 'FAIL')) counts.failed += 1;
}
for (const browser of context.browsers.values()) await (await browser).close().catch(() => {});
site.close();
await server.stop();
for (const name of again) console.log(`second attempt: ${name}`);
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(counts.failed ? 1 : 0);
