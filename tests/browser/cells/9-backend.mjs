// How packets reach the kernel: what the node says of it, and a call over the fallback.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { eventually, expect, flows } from '../lib/call.mjs';

/// Name and reason of each shard's backend.
async function backends(http) {
  const text = await (await fetch(`${http}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith('millrace_shard_backend{'));
  return lines.map((line) => ({
    name: /backend="([^"]*)"/.exec(line)?.[1], reason: /reason="((?:[^"\\]|\\.)*)"/.exec(line)?.[1],
  }));
}

const startLine = (server) => server.log.find((line) => line.includes('shard started'));

/// What a denial should be explained with; `without-io-uring` names itself to what it starts.
const REMEDIES = { seccomp: /seccomp.*run with a profile that allows io_uring_setup/, memlock: /raise `?ulimit -l/ };

async function named(t) {
  if (process.env.LIVEKIT_URL) t.skip('another server has no backends');
  const denied = process.env.IO_URING_DENIED_BY;
  const all = await backends(t.server.http);
  expect(all.length > 0, '/metrics has no backend');
  for (const { name, reason } of all) {
    t.figure('backend', name);
    if (denied) {
      expect(name === 'sendmmsg', `io_uring is denied, and the backend is ${name}`);
      expect(REMEDIES[denied].test(reason), `the reason names no remedy: ${reason}`);
    }
    expect(reason.length > 10, `no reason: ${reason}`);
    const line = startLine(t.server);
    expect(line?.includes(name) && line.includes(denied ? 'refused' : 'reason'), `the log says: ${line}`);
  }
}

async function configured(t) {
  const server = await t.startServer({ config: 'dataplane: {backend: mmsg}\n' });
  const [{ name, reason }] = await backends(server.http);
  expect(name === 'sendmmsg' && reason.includes('configuration'), `${name}: ${reason}`);
  const call = t.call({ server });
  const bob = await call.join('bob', 'firefox');
  const alice = await call.join('alice', 'chromium');
  t.figure('first frame', await call.video(alice, [bob]), ' ms');
  await flows(bob, 'alice', 'camera', 3);
  await alice.call('publishTone', 880);
  await eventually('bob hears alice', async () => Math.abs(await bob.call('tone', 'alice') - 880) < 25, 10_000);
}

/// Too little for any ring, and enough for a small one but not for glommio.
async function limited(t) {
  const program = ['--quiet', '--package', 'millrace-netio', '--bin', 'without-io-uring'];
  await promisify(execFile)('cargo', ['build', ...program]);
  const launcher = ['cargo', 'run', ...program, '--'];
  for (const bytes of [0, 65_536]) {
    const server = await t.startServer({ launcher: [...launcher, '--memlock', String(bytes)] });
    const [{ name, reason }] = await backends(server.http);
    t.figure(`with ${bytes} bytes`, name);
    expect(name === 'io_uring' || REMEDIES.memlock.test(reason) || REMEDIES.seccomp.test(reason),
      `with ${bytes} bytes of locked memory the reason is: ${reason}`);
    const call = t.call({ server });
    const bob = await call.join('bob', 'chromium');
    const alice = await call.join('alice', 'chromium');
    await call.video(alice, [bob]);
    await call.close();
    await server.stop();
  }
}

export default [
  { name: 'named with its reason', run: named },
  { name: 'dataplane.backend mmsg, chromium to firefox', run: configured },
  { name: 'a limit on locked memory', run: limited },
];
