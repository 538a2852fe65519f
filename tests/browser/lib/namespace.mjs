// A network namespace at the other end of a veth pair, and browsers inside it.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startBrowser } from './pages.mjs';
import { startRelay } from './relay.mjs';
import { freeTcpPort } from './server.mjs';

const PATHS = { chromium: '/usr/bin/chromium', firefox: '/usr/bin/firefox-esr' };

/// Why namespaces cannot be had here, or null.
export function whyNoNamespace() {
  if (process.getuid() !== 0) return 'network namespaces need root';
  if (!['/sbin/ip', '/usr/sbin/ip', '/bin/ip'].some(existsSync)) return 'the program `ip` is missing';
  return null;
}

const ip = (...args) => execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] });

let count = 0;

/// Makes a namespace with one link to ours, which has addresses of one `family` (4 or 6) only.
/// `host` is our end of it, `inside` the other.
export async function makeNamespace(family) {
  count += 1;
  const name = `mill${process.pid}n${count}`;
  // An interface name has at most 15 characters.
  const near = `m${process.pid}n${count}a`;
  // Never 0: browsers tell fd5a:215:0::1 as fd5a:215::1, which is no string of ours.
  const subnet = 1 + ((process.pid + count) % 250);
  const network = family === 4 ? `10.213.${subnet}.` : `fd5a:213:${subnet}::`;
  const bits = family === 4 ? 24 : 64;
  const [host, inside] = [`${network}1`, `${network}2`];
  const folder = await mkdtemp(join(tmpdir(), 'namespace-'));
  const close = async () => {
    for (const args of [['link', 'del', near], ['netns', 'del', name]]) {
      try { ip(...args); } catch { /* Never made: what follows must still go. */ }
    }
    await rm(folder, { recursive: true, force: true });
  };
  // There is no default route: only our end of the link can be reached.
  // RFC 4862 §5.4: duplicate address detection would keep an IPv6 address back for a second.
  const nodad = family === 6 ? ['nodad'] : [];
  try {
    ip('netns', 'add', name);
    ip('link', 'add', near, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
    ip('addr', 'add', `${host}/${bits}`, 'dev', near, ...nodad);
    ip('link', 'set', near, 'up');
    ip('-n', name, 'addr', 'add', `${inside}/${bits}`, 'dev', 'eth0', ...nodad);
    ip('-n', name, 'link', 'set', 'eth0', 'up');
    ip('-n', name, 'link', 'set', 'lo', 'up');
  } catch (error) {
    await close();
    throw error;
  }
  return { name, family, host, inside, folder, close };
}

/// Starts a browser inside, for pages of `site`. Chromium is driven through a pipe, which knows no network. Firefox
/// listens on loopback inside and insists on being called by that name: two relays bring the port
/// to our loopback, under the same number. Between them is a Unix socket, which needs no network either:
/// cells cut that.
export async function startBrowserInside(space, browser, site) {
  const path = join(space.folder, browser);
  await writeFile(path, `#!/bin/sh\nexec ip netns exec ${space.name} ${PATHS[browser]} "$@"\n`);
  await chmod(path, 0o755);
  if (browser === 'chromium') {
    // A page that may use a camera gathers candidates on every interface, as a real call does; one
    // that may not gathers none where there is IPv6 alone. Only a secure origin may.
    const args = [`--unsafely-treat-insecure-origin-as-secure=${new URL(site.url).origin}`];
    return startBrowser(browser, { executablePath: path, args });
  }
  const debuggingPort = await freeTcpPort();
  const far = await startRelayInside(space, debuggingPort);
  const near = await startRelay({ path: relayPath(space), listen: debuggingPort });
  const close = async () => {
    far.kill();
    await near.close();
  };
  try {
    const started = await startBrowser(browser, { executablePath: path, debuggingPort });
    return { ...started, close: () => started.close().finally(close) };
  } catch (error) {
    await close();
    throw error;
  }
}

const relayPath = (space) => join(space.folder, 'debugging');

async function startRelayInside(space, port) {
  const script = `const net = require('net');
    net.createServer((near) => {
      const far = net.connect(${port}, '127.0.0.1');
      near.pipe(far).pipe(near);
      near.on('error', () => far.destroy());
      far.on('error', () => near.destroy());
    }).listen('${relayPath(space)}', () => console.log('listening'));`;
  const relay = spawn('ip', ['netns', 'exec', space.name, process.execPath, '-e', script],
    { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve, reject) => {
    relay.stdout.once('data', resolve);
    relay.once('error', reject);
    relay.once('exit', () => reject(new Error('the relay into the namespace ended')));
  });
  return relay;
}
