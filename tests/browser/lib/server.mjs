// The server under test: our release build, on ports of its own.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KEY, SECRET } from './token.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const binary = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'release/millrace');

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/// Starts the server and waits until it answers. `config` is YAML beside the ports and keys;
/// `prefix` is a command that runs it, such as `ip netns exec name`.
export async function startServer({ port = 17880, udpPort = 17882, config = '', bind = [], prefix = [], host = '127.0.0.1' } = {}) {
  if (process.env.LIVEKIT_URL) return external(process.env.LIVEKIT_URL);
  const body = `port: ${port}\nrtc:\n  udp_port: ${udpPort}\nkeys:\n  ${KEY}: ${SECRET}\n${config}`;
  const command = [...prefix, binary, ...bind.flatMap((address) => ['--bind', address])];
  const log = [];
  const child = spawn(command[0], command.slice(1), {
    env: { ...process.env, LIVEKIT_CONFIG: body }, stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => log.push(line));
  }
  let ended = null;
  const exit = new Promise((resolve) => child.on('exit', (code, signal) => {
    ended = { code, signal };
    resolve(ended);
  }));
  const server = {
    url: `ws://${host}:${port}`, http: `http://${host}:${port}`, pid: child.pid, log, exit,
    async stop(signal = 'SIGTERM') {
      if (!ended) child.kill(signal);
      return exit;
    },
  };
  if (prefix.length === 0) await answering(server, () => ended);
  return server;
}

async function answering(server, ended) {
  for (let tries = 0; tries < 200; tries += 1) {
    if (ended()) throw new Error(`the server ended:\n${server.log.join('\n')}`);
    const response = await fetch(server.http).catch(() => null);
    if (response?.ok) return;
    await sleep(25);
  }
  throw new Error(`the server does not answer on ${server.http}:\n${server.log.join('\n')}`);
}

function external(url) {
  return { url, http: url.replace(/^ws/, 'http'), pid: null, log: [], stop: async () => {} };
}
