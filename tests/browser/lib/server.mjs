// The server under test: our release build, on ports of its own.
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KEY, SECRET } from './token.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
// Another server that reads LIVEKIT_CONFIG can stand in, to tell its behaviour from ours.
export const binary = process.env.MILLRACE_BINARY
  ?? join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'release/millrace');

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Below the ports the kernel gives to sockets that ask for any: a browser must not take the port
// of a server that is about to return to it.
const ports = { first: 20_000, count: 10_000 };

async function freePort(bind) {
  for (;;) {
    const port = ports.first + Math.floor(Math.random() * ports.count);
    if (await bind(port).then(() => true, () => false)) return port;
  }
}

/// A TCP port nobody listens on.
export const freeTcpPort = () => freePort((port) => new Promise((resolve, reject) => {
  const server = createServer();
  server.on('error', reject);
  server.listen(port, () => server.close(resolve));
}));

export const freeUdpPort = () => freePort((port) => new Promise((resolve, reject) => {
  const socket = createSocket('udp4');
  socket.on('error', reject);
  socket.bind(port, () => socket.close(resolve));
}));

/// Starts the server and waits until it answers on `host`. `config` is YAML beside the ports and
/// keys; `bind` are the addresses it listens on; `launcher` is a command that becomes the server.
export async function startServer({ config = '', bind = [], host = '127.0.0.1', launcher = [] } = {}) {
  if (process.env.LIVEKIT_URL) return external(process.env.LIVEKIT_URL);
  const [port, tcpPort, udpPort] = [await freeTcpPort(), await freeTcpPort(), await freeUdpPort()];
  const body = `port: ${port}\nrtc:\n  udp_port: ${udpPort}\n  tcp_port: ${tcpPort}\n`
    + `keys:\n  ${KEY}: ${SECRET}\n${config}`;
  const at = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  const server = { url: `ws://${at}`, http: `http://${at}`, host, port, udpPort, log: [] };
  const start = async () => {
    const command = [...launcher, binary, ...bind.flatMap((address) => ['--bind', address])];
    Object.assign(server, run(command, body, server.log));
    await answering(server);
  };
  server.stop = async (signal = 'SIGTERM') => {
    if (!server.ended()) server.child.kill(signal);
    return server.exit;
  };
  /// Ends it and starts it again on the same ports.
  server.restart = async (signal = 'SIGKILL') => {
    await server.stop(signal);
    await start();
  };
  await start();
  return server;
}

export function run([program, ...args], body, log) {
  const child = spawn(program, args, {
    cwd: root, env: { ...process.env, LIVEKIT_CONFIG: body }, stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => log.push(line));
  }
  let ended = null;
  const exit = new Promise((resolve) => {
    const end = (result) => {
      ended = result;
      resolve(result);
    };
    child.on('error', (error) => end({ error }));
    child.on('exit', (code, signal) => end({ code, signal }));
  });
  return { child, pid: child.pid, exit, ended: () => ended };
}

export async function answering(server) {
  for (let tries = 0; tries < 200; tries += 1) {
    const ended = server.ended();
    if (ended) throw new Error(`the server ended: ${ended.error ?? ''}\n${server.log.join('\n')}`);
    const response = await fetch(server.http).catch(() => null);
    if (response?.ok) return;
    await sleep(25);
  }
  throw new Error(`the server does not answer on ${server.http}:\n${server.log.join('\n')}`);
}

function external(url) {
  return { url, http: url.replace(/^ws/, 'http'), pid: null, log: [], stop: async () => {} };
}
