// The server under test in two processes, on a socket of their own.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { answering, binary, freeTcpPort, freeUdpPort, run } from './server.mjs';
import { KEY, SECRET } from './token.mjs';

/// One process that can be killed and started again as it was.
class Plane {
  constructor(command, body, log) {
    Object.assign(this, { command, body, log });
  }

  start() {
    Object.assign(this, run([binary, this.command], this.body, this.log));
  }

  async kill(signal = 'SIGKILL') {
    if (!this.ended()) this.child.kill(signal);
    return this.exit;
  }
}

/// Starts both planes and waits until clients can join. `control` and `data` are the processes.
export async function startPlanes({ config = '' } = {}) {
  const [port, udpPort] = [await freeTcpPort(), await freeUdpPort()];
  const directory = await mkdtemp(join(tmpdir(), 'millrace-planes-'));
  const socket = join(directory, 'dataplane.sock');
  const body = `port: ${port}\nrtc:\n  udp_port: ${udpPort}\nkeys:\n  ${KEY}: ${SECRET}\n`
    + `dataplane:\n  socket: ${socket}\n${config}`;
  const planes = {
    url: `ws://127.0.0.1:${port}`, http: `http://127.0.0.1:${port}`, host: '127.0.0.1', port, socket, body, log: [],
  };
  planes.data = new Plane('dataplane', body, planes.log);
  planes.control = new Plane('controlplane', body, planes.log);
  planes.ready = () => answering({ ...planes, ended: planes.control.ended });
  planes.stop = async () => {
    await planes.control.kill();
    await planes.data.kill();
    await rm(directory, { recursive: true, force: true });
  };
  // In the order that needs patience: the control plane waits for its data plane.
  planes.control.start();
  planes.data.start();
  await planes.ready();
  return planes;
}
