// Firefox runs no AudioContext without a sound device: a PulseAudio with a null sink is one.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/// Starts a sound server of our own; returns the environment for programs that use it.
export async function startSound() {
  const home = await mkdtemp(join(tmpdir(), 'sound-'));
  const socket = join(home, 'native');
  const server = spawn('pulseaudio', ['-n', '--daemonize=no', '--exit-idle-time=-1',
    '-L', 'module-null-sink', '-L', `module-native-protocol-unix socket=${socket} auth-anonymous=1`], {
    env: { ...process.env, HOME: home, XDG_RUNTIME_DIR: home }, stdio: 'ignore',
  });
  let failed = null;
  server.on('error', (error) => { failed = error; });
  for (let tries = 0; !existsSync(socket); tries += 1) {
    if (failed || tries > 100) throw new Error(`pulseaudio does not start: ${failed ?? 'no socket'}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    env: { PULSE_SERVER: `unix:${socket}` },
    async close() {
      server.kill();
      await rm(home, { recursive: true, force: true });
    },
  };
}
