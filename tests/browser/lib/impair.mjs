// A bad network in user space: relays UDP between clients and one server and loses, delays, swaps and
// doubles datagrams on the way. To the server it is a NAT: each client address has a socket of its own.
// Run by leg.mjs inside a router's namespace; the parent's messages are calls of `commands`.
import { createSocket } from 'node:dgram';
import { performance } from 'node:perf_hooks';
import { pathToFileURL } from 'node:url';

/// A generator of numbers in [0, 1): one seed, one series (mulberry32).
export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 4294967296;
  };
}

// RFC 7983 §7: the first byte tells the protocol; RFC 5761 §4: payload types 64 to 95 are RTCP.
function kindOf(datagram) {
  const first = datagram[0];
  if (first < 4) return 'stun';
  if (first >= 20 && first < 64) return 'dtls';
  const type = datagram[1] & 0x7f;
  return type >= 64 && type < 96 ? 'rtcp' : 'rtp';
}

const freshCounts = () => ({
  rtp: 0, rtcp: 0, stun: 0, dtls: 0, rtpLost: 0, otherLost: 0, lostOf: {}, doubled: 0, swapped: 0, longestBytes: 0,
});

/// One direction. `settings`: `loss` (share), `burst` ({ enter, leave, loss }: Gilbert and Elliott's
/// two states, by the chance to change at each datagram), `delayMs`, `jitterMs` (kept in order),
/// `swap` (share that comes `swapMs` late), `double` (share sent twice).
export class Direction {
  settings = {};
  counts = freshCounts();
  inBurst = false;
  lastDue = 0;
  waiting = [];
  timer = null;

  constructor(random) {
    this.random = random;
  }

  set(settings) {
    this.settings = settings;
    this.inBurst = false;
  }

  takeCounts() {
    const counts = this.counts;
    this.counts = freshCounts();
    return counts;
  }

  push(datagram, deliver) {
    const kind = kindOf(datagram);
    this.counts[kind] += 1;
    this.counts.longestBytes = Math.max(this.counts.longestBytes, datagram.length);
    if (this.isLost()) {
      this.countLost(kind, datagram);
      return;
    }
    const { delayMs = 0, jitterMs = 0, swap = 0, swapMs = 30, double = 0 } = this.settings;
    const now = performance.now();
    this.lastDue = Math.max(this.lastDue, now + delayMs + jitterMs * this.random());
    const swapped = this.random() < swap;
    this.schedule(this.lastDue + (swapped ? swapMs : 0), deliver);
    if (swapped) this.counts.swapped += 1;
    if (this.random() < double) {
      this.counts.doubled += 1;
      this.schedule(this.lastDue + 1, deliver);
    }
  }

  countLost(kind, datagram) {
    if (kind !== 'rtp') {
      this.counts.otherLost += 1;
      return;
    }
    this.counts.rtpLost += 1;
    // RFC 3550 §5.1: the SSRC, which encryption leaves readable.
    const ssrc = datagram.readUInt32BE(8);
    this.counts.lostOf[ssrc] = (this.counts.lostOf[ssrc] ?? 0) + 1;
  }

  isLost() {
    const { loss = 0, burst } = this.settings;
    if (burst && this.random() < (this.inBurst ? burst.leave : burst.enter)) this.inBurst = !this.inBurst;
    return this.random() < (burst && this.inBurst ? burst.loss : loss);
  }

  schedule(due, deliver) {
    let at = this.waiting.length;
    while (at > 0 && this.waiting[at - 1].due > due) at -= 1;
    this.waiting.splice(at, 0, { due, deliver });
    this.flush();
  }

  flush() {
    clearTimeout(this.timer);
    const now = performance.now();
    while (this.waiting.length > 0 && this.waiting[0].due <= now) this.waiting.shift().deliver();
    if (this.waiting.length > 0) {
      this.timer = setTimeout(() => this.flush(), Math.max(1, this.waiting[0].due - now));
    }
  }
}

/// Relays what comes to `listen` to `port` of `host`, from `source`.
function relay({ listen, host, port, source, seed }) {
  const type = host.includes(':') ? 'udp6' : 'udp4';
  const random = generator(seed);
  const [up, down] = [new Direction(random), new Direction(random)];
  const clients = new Map();
  const near = createSocket({ type, recvBufferSize: 1 << 20 });

  function open(client) {
    const far = createSocket({ type, recvBufferSize: 1 << 20 });
    far.bind(0, source);
    far.on('message', (datagram) => down.push(datagram, () => near.send(datagram, client.port, client.address)));
    far.on('error', () => {});
    client.far = far;
  }

  near.on('message', (datagram, { address, port: clientPort }) => {
    const key = `${address}/${clientPort}`;
    let client = clients.get(key);
    if (!client) {
      client = { address, port: clientPort };
      clients.set(key, client);
      open(client);
    }
    up.push(datagram, () => client.far.send(datagram, port, host));
  });

  const commands = {
    set(settings) {
      up.set(settings);
      down.set(settings);
    },
    counts: () => ({ up: up.takeCounts(), down: down.takeCounts() }),
    /// As a NAT that forgot: every client goes on from another port, of `address` if given.
    rebind(address = source) {
      source = address;
      for (const client of clients.values()) {
        client.far.close();
        open(client);
      }
      return clients.size;
    },
  };
  return { commands, ready: new Promise((resolve) => near.bind(listen, resolve)) };
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { commands, ready } = relay(JSON.parse(process.argv[2]));
  process.on('message', ({ id, name, args }) => process.send({ id, value: commands[name](...args) }));
  process.on('disconnect', () => process.exit());
  ready.then(() => process.send({ id: 'ready' }));
}
