// What the server counted.

/// Every sample of /metrics, keyed `name` or `name/label/label` with the label values that differ.
export async function readMetrics(server) {
  const body = await (await fetch(`${server.http}/metrics`)).text();
  const samples = {};
  for (const line of body.split('\n')) {
    const found = line.match(/^(\w+)\{([^}]*)\} ([-\d.e+]+)$/);
    if (!found) continue;
    const labels = [...found[2].matchAll(/(\w+)="([^"]*)"/g)].filter(([, name]) => !name.startsWith('node_'));
    samples[[found[1], ...labels.map(([, , value]) => value)].join('/')] = Number(found[3]);
  }
  return samples;
}

/// What was counted between two readings, by short names. The server totals once a second.
export function difference(before, after) {
  const of = (key) => (after[key] ?? 0) - (before[key] ?? 0);
  return {
    rtxSent: of('livekit_packet_total/outgoing/retransmit'),
    rtxReceived: of('livekit_packet_total/incoming/retransmit'),
    nacksSent: of('livekit_nack_total/outgoing'),
    nacksReceived: of('livekit_nack_total/incoming'),
    plisSent: of('livekit_pli_total/outgoing'),
    plisReceived: of('livekit_pli_total/incoming'),
    resumes: of('millrace_resumes_total'),
    drops: Object.fromEntries(Object.keys(after)
      .filter((key) => key.startsWith('millrace_drop_') && of(key) > 0)
      .map((key) => [key.replace('millrace_drop_', '').replace('_total', ''), of(key)])),
  };
}
