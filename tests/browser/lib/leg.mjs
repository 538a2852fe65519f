// One participant's way to the server: a namespace for the browser, and a router in another that can
// be told to behave as badly as networks do.
//
//   browser (eth0) ---- (near) router (far) ---- our namespace, with the server
//
// The router translates addresses. UDP to the server goes through the relay of impair.mjs if it was
// started, everything else through the kernel.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const IMPAIR = join(dirname(fileURLToPath(import.meta.url)), 'impair.mjs');
const RELAY_PORT = 4000;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const ip = (...args) => execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] });

let count = 0;

/// Makes both namespaces. `host` is our end, where the server is; `inside` the browser's address.
/// `mtu` is that of the link to the browser.
export async function makeLeg({ family = 4, mtu = 1500 } = {}) {
  count += 1;
  const names = { client: `mill${process.pid}c${count}`, router: `mill${process.pid}r${count}` };
  const uplink = `m${process.pid}l${count}`;
  // Never 0: browsers tell fd5a:215:0::1 as fd5a:215::1, which is no string of ours.
  const subnet = 1 + ((process.pid + count) % 250);
  const address = (second, last) => (family === 4 ? `10.${second}.${subnet}.${last}` : `fd5a:${second}:${subnet}::${last}`);
  const leg = {
    name: names.client, router: names.router, family, uplink, link: 'eth0',
    bits: family === 4 ? 24 : 64,
    host: address(215, 1), far: [address(215, 2), address(215, 3)],
    gateway: address(214, 1), inside: address(214, 2), spare: address(214, 3),
    folder: await mkdtemp(join(tmpdir(), 'leg-')),
  };
  const close = async () => {
    for (const args of [['link', 'del', uplink], ['netns', 'del', names.client], ['netns', 'del', names.router]]) {
      try { ip(...args); } catch { /* Never made: what follows must still go. */ }
    }
    await rm(leg.folder, { recursive: true, force: true });
  };
  try {
    wire(leg, mtu);
  } catch (error) {
    await close();
    throw error;
  }
  return Object.assign(leg, controls(leg), { close });
}

// RFC 4862 §5.4: duplicate address detection would keep an IPv6 address back for a second.
const add = (leg, address) => ['addr', 'add', `${address}/${leg.bits}`, ...(leg.family === 6 ? ['nodad'] : [])];

function wire(leg, mtu) {
  const { name, router, uplink } = leg;
  for (const space of [name, router]) {
    ip('netns', 'add', space);
    ip('-n', space, 'link', 'set', 'lo', 'up');
  }
  ip('link', 'add', uplink, 'type', 'veth', 'peer', 'name', 'far', 'netns', router);
  ip('-n', router, 'link', 'add', 'near', 'mtu', mtu, 'type', 'veth', 'peer', 'name', 'eth0', 'mtu', mtu, 'netns', name);
  ip(...add(leg, leg.host), 'dev', uplink);
  ip('link', 'set', uplink, 'up');
  for (const address of leg.far) ip('-n', router, ...add(leg, address), 'dev', 'far');
  ip('-n', router, ...add(leg, leg.gateway), 'dev', 'near');
  for (const link of ['near', 'far']) ip('-n', router, 'link', 'set', link, 'up');
  const forwarding = leg.family === 4 ? '/proc/sys/net/ipv4/ip_forward' : '/proc/sys/net/ipv6/conf/all/forwarding';
  ip('netns', 'exec', router, 'sh', '-c', `echo 1 > ${forwarding}`);
  appear(leg);
  nft(router, `table inet leg {
    chain outage { type filter hook prerouting priority -300; }
    chain to_relay { type nat hook prerouting priority -100; }
    chain translate { type nat hook postrouting priority 100; iifname "near" oifname "far" masquerade; }
  }`);
}

function nft(space, rules) {
  execFileSync('ip', ['netns', 'exec', space, 'nft', '-f', '-'], { input: rules, stdio: ['pipe', 'pipe', 'pipe'] });
}

function controls(leg) {
  const { name, router } = leg;
  return {
    /// Puts the relay into the way of UDP to `port`. Returns its commands and `close`.
    async impair(port, seed = 1) {
      const relay = await startRelay(leg, { listen: RELAY_PORT, host: leg.host, port, source: leg.far[0], seed });
      const proto = leg.family === 4 ? 'ip' : 'ip6';
      nft(router, `add rule inet leg to_relay iifname "near" ${proto} daddr ${leg.host} udp dport ${port} redirect to :${RELAY_PORT}`);
      return relay;
    },
    /// Nothing passes, or `udp` alone does not.
    outage(what = 'all') {
      nft(router, `add rule inet leg outage ${what === 'udp' ? 'meta l4proto udp ' : ''}counter drop`);
    },
    outageEnds() {
      nft(router, 'flush chain inet leg outage');
    },
    /// Resets the client's TCP connections at its next segment on each, until `stop`.
    resetTcp() {
      nft(router, `add chain inet leg resets { type filter hook forward priority 0; }
        add rule inet leg resets meta l4proto tcp reject with tcp reset`);
      return () => nft(router, 'delete chain inet leg resets');
    },
    /// How many packets the router refused or cut: longer than the link to the browser takes. What a
    /// browser itself sends too long (Firefox's ClientHello) its own kernel cuts, and IPv6 routers never do;
    /// over IPv4 the router's address translation puts it together and cuts it as it was.
    tooLong() {
      const counts = kernelCounts(router, leg.family);
      return leg.family === 4 ? counts.FragFails + counts.FragOKs - counts.ReasmOKs : counts.Icmp6OutPktTooBigs;
    },
    /// The browser's interface has no address for half a second, and then another one.
    async changeAddress() {
      [leg.inside, leg.spare] = [leg.spare, leg.inside];
      ip('-n', name, 'addr', 'del', `${leg.spare}/${leg.bits}`, 'dev', leg.link);
      await sleep(500);
      appear(leg);
    },
    /// The browser's interface goes, and half a second later another comes, with another address.
    async changeInterface() {
      ip('-n', router, 'link', 'del', 'near');
      await sleep(500);
      leg.link = 'eth1';
      ip('-n', router, 'link', 'add', 'near', 'type', 'veth', 'peer', 'name', leg.link, 'netns', name);
      ip('-n', router, ...add(leg, leg.gateway), 'dev', 'near');
      ip('-n', router, 'link', 'set', 'near', 'up');
      [leg.inside, leg.spare] = [leg.spare, leg.inside];
      appear(leg);
    },
  };
}

/// The route comes before the address: browsers try the network as soon as they see an address, once.
function appear({ name, link, gateway, inside, ...leg }) {
  ip('-n', name, 'link', 'set', link, 'up');
  ip('-n', name, 'route', 'replace', 'default', 'via', gateway, 'dev', link, 'onlink');
  ip('-n', name, ...add(leg, inside), 'dev', link);
}

/// The kernel's IP counters of a namespace, by name.
function kernelCounts(space, family) {
  const read = (path) => String(execFileSync('ip', ['netns', 'exec', space, 'cat', path]));
  if (family === 6) {
    const pairs = read('/proc/net/snmp6').trim().split('\n').map((line) => line.split(/\s+/));
    return Object.fromEntries(pairs.map(([key, value]) => [key, Number(value)]));
  }
  const [keys, values] = read('/proc/net/snmp').split('\n').filter((line) => line.startsWith('Ip:')).map((line) => line.split(' '));
  return Object.fromEntries(keys.map((key, index) => [key, Number(values[index])]));
}

async function startRelay(leg, options) {
  const child = spawn('ip', ['netns', 'exec', leg.router, process.execPath, IMPAIR, JSON.stringify(options)],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const pending = new Map();
  child.on('message', ({ id, value }) => {
    pending.get(id)?.resolve(value);
    pending.delete(id);
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.once('exit', (code) => {
    for (const { reject } of pending.values()) reject(new Error(`the relay ended with ${code}`));
  });
  const answer = (id) => new Promise((resolve, reject) => pending.set(id, { resolve, reject }));
  await answer('ready');
  let last = 0;
  const call = (name, ...args) => {
    last += 1;
    child.send({ id: last, name, args });
    return answer(last);
  };
  return {
    set: (settings) => call('set', settings),
    counts: () => call('counts'),
    rebind: (address) => call('rebind', address),
    async close() {
      child.kill();
      await ended;
    },
  };
}
