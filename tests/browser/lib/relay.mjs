// A TCP relay. Before the server's signalling port it cuts connections as a bad network does: no
// WebSocket close, no goodbye.
import { connect, createServer } from 'node:net';

/// Relays to `port` of `host`, or to the Unix socket `path`, from port `listen` of loopback. `url` is where
/// pages connect instead.
export async function startRelay({ host, port, path, listen = 0 }) {
  const pairs = new Set();
  const server = createServer((near) => {
    const far = connect(path ? { path } : { host, port });
    const pair = [near, far];
    pairs.add(pair);
    for (const [from, to] of [pair, [far, near]]) {
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        to.destroy();
        pairs.delete(pair);
      });
    }
  });
  await new Promise((resolve) => server.listen(listen, '127.0.0.1', resolve));
  return {
    url: `ws://127.0.0.1:${server.address().port}`,
    /// Resets every connection that is open. Returns how many there were.
    cut() {
      const open = [...pairs];
      for (const pair of open) for (const socket of pair) socket.resetAndDestroy();
      return open.length;
    },
    async close() {
      for (const pair of pairs) for (const socket of pair) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
