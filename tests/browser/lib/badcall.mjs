// A call of alice and bob, one of whom is behind a leg that a cell can make worse. The other one is in
// our own namespace, on a network without fault.
import { makeLeg } from './leg.mjs';
import { startBrowserInside, whyNoNamespace } from './namespace.mjs';
import { servePage } from './pages.mjs';

/// `side` is who sits behind the leg: the 'publisher' is alice, the 'subscriber' bob. `relayed` puts the
/// relay into the way of UDP; without it the router's kernel forwards.
export async function startBadCall(t, { browser, side, family = 4, mtu, relayed = true, single = true, video, options = {} }) {
  const reason = whyNoNamespace();
  if (reason) t.skip(reason);
  const leg = await makeLeg({ family, mtu });
  t.atEnd(leg.close);
  const server = await t.startServer({ bind: ['127.0.0.1', leg.host] });
  let relay = null;
  if (relayed) {
    relay = await leg.impair(server.udpPort);
    t.atEnd(relay.close);
  }
  const site = await servePage(leg.host);
  t.atEnd(async () => site.close());
  const inside = await startBrowserInside(leg, browser, site);
  t.atEnd(inside.close);

  const [near, far] = [t.call({ server }), t.call({ server, site })];
  far.room = near.room;
  const url = `ws://${family === 6 ? `[${leg.host}]` : leg.host}:${server.port}`;
  const join = (identity, away) => (away
    ? far.join(identity, inside, { url, single, options })
    : near.join(identity, 'chromium', { single, options }));
  const bob = await join('bob', side === 'subscriber');
  const alice = await join('alice', side === 'publisher');
  const firstFrameMs = await near.video(alice, [bob], video);
  return { leg, server, relay, call: near, alice, bob, away: side === 'publisher' ? alice : bob, firstFrameMs };
}
