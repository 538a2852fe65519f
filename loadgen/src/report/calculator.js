// What a mix of rooms asks of a machine. The same formulas as calculator.rs; a test holds them to
// the same numbers.
function load(mix, costs, traffic) {
  const voice = traffic.voice, tile = traffic.tile, stream = traffic.stream;
  const others = (size) => Math.max(0, size - 1);
  const audioPps = Math.min(mix.audio.speakers, mix.audio.size) * others(mix.audio.size) * voice.pps;
  const tiles = Math.min(mix.meeting.tiles, others(mix.meeting.size));
  const voices = Math.min(traffic.voices_per_meeting, others(mix.meeting.size));
  const meetingTilePps = mix.meeting.size * tiles * tile.pps;
  const meetingVoicePps = mix.meeting.size * voices * voice.pps;
  const streamPps = mix.livestream.viewers * stream.pps;
  const streamVoicePps = mix.livestream.viewers * voice.pps;
  const pps = mix.audio.rooms * audioPps
    + mix.meeting.rooms * (meetingTilePps + meetingVoicePps)
    + mix.livestream.rooms * (streamPps + streamVoicePps);
  const voicePps = mix.audio.rooms * audioPps + mix.meeting.rooms * meetingVoicePps
    + mix.livestream.rooms * streamVoicePps;
  const bytes = voicePps * voice.bytes + mix.meeting.rooms * meetingTilePps * tile.bytes
    + mix.livestream.rooms * streamPps * stream.bytes;
  const participants = mix.audio.rooms * mix.audio.size + mix.meeting.rooms * mix.meeting.size
    + mix.livestream.rooms * (mix.livestream.viewers + 1);
  const biggest = Math.max(
    mix.audio.rooms > 0 ? audioPps : 0,
    mix.meeting.rooms > 0 ? meetingTilePps + meetingVoicePps : 0,
    mix.livestream.rooms > 0 ? streamPps + streamVoicePps : 0,
  );
  return {
    participants,
    packets_per_s: pps,
    bits_per_s: 8 * (bytes + pps * traffic.header_bytes),
    biggest_room_pps: biggest,
    shard_cpus: pps * costs.shard_us_per_packet / 1e6,
    control_cpus: participants * costs.control_us_per_subscriber / 1e6,
    memory_bytes: costs.rss_idle_bytes + participants * costs.bytes_per_subscriber,
  };
}

function shares(load, machine, costs) {
  const shards = costs.has_shards ? Math.max(1, machine.vcpus - 1) : machine.vcpus;
  const control = costs.has_shards ? Math.max(costs.control_cpus_min, machine.vcpus - shards) : machine.vcpus;
  const shard = load.shard_cpus / (shards * costs.shard_share);
  const room = costs.is_room_on_one_shard
    ? load.biggest_room_pps * costs.shard_us_per_packet / 1e6 / costs.shard_share : 0;
  const controlShare = load.control_cpus / (control * costs.control_share_max);
  const memory = load.memory_bytes / (machine.memory_bytes * costs.memory_share_max);
  const link = load.bits_per_s / machine.link_bps;
  return { shard, room, control: controlShare, memory, link,
    worst: Math.max(shard, room, controlShare, memory, link) };
}
