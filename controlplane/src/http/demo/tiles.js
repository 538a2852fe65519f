// All pictures of a call, and where they lie.

import { stage } from './layout.js';
import { Tile } from './tile.js';

const { Track } = window.LivekitClient;

export class Tiles {
  #list;
  #tiles = new Map();
  #visibility;

  constructor(list) {
    this.#list = list;
    new ResizeObserver(() => this.#place()).observe(list);
    this.#visibility = new IntersectionObserver((entries) => {
      for (const entry of entries) this.#of(entry.target)?.setVisible(entry.isIntersecting);
    }, { root: list });
    document.addEventListener('visibilitychange', () => this.#place());
  }

  #of(element) {
    return [...this.#tiles.values()].find((tile) => tile.element === element);
  }

  /// Brings the tiles to what the room is now. Called after every event: a picture drawn from the
  /// state as a whole cannot miss one.
  update(room) {
    const remote = [...room.remoteParticipants.values()]
      .sort((a, b) => (a.joinedAt?.getTime() ?? 0) - (b.joinedAt?.getTime() ?? 0));
    const gone = new Set(this.#tiles.keys());
    const show = (key, kind, participant, publication) => {
      gone.delete(key);
      this.#tile(key, kind).update(participant, publication);
    };
    for (const participant of [room.localParticipant, ...remote]) {
      const { identity } = participant;
      show(`${identity} camera`, 'camera', participant,
        participant.getTrackPublication(Track.Source.Camera));
      const screen = participant.getTrackPublication(Track.Source.ScreenShare);
      if (screen?.track && !screen.isMuted) show(`${identity} screen`, 'screen', participant, screen);
    }
    for (const key of gone) {
      this.#visibility.unobserve(this.#tiles.get(key).element);
      this.#tiles.get(key).remove();
      this.#tiles.delete(key);
    }
    this.#place();
  }

  #tile(key, kind) {
    let tile = this.#tiles.get(key);
    if (!tile) {
      tile = new Tile(kind, { pin: (pressed) => this.#pin(pressed) });
      this.#tiles.set(key, tile);
      this.#list.append(tile.element);
      this.#visibility.observe(tile.element);
    }
    return tile;
  }

  #pin(pressed) {
    for (const tile of this.#tiles.values()) {
      tile.pinned = tile === pressed && !tile.pinned;
      tile.element.querySelector('.pin').setAttribute('aria-pressed', String(tile.pinned));
    }
    this.#place();
  }

  /// A tile enlarged by hand has the stage, otherwise shared screens have it.
  #place() {
    const tiles = [...this.#tiles.values()];
    const pinned = tiles.filter((tile) => tile.pinned);
    const large = pinned.length > 0 ? pinned : tiles.filter((tile) => tile.kind === 'screen');
    const ordered = [...large, ...tiles.filter((tile) => !large.includes(tile))];
    const box = { left: 0, top: 0, width: this.#list.clientWidth, height: this.#list.clientHeight };
    this.#list.dataset.single = String(ordered.length === 1);
    const places = stage(ordered.length, large.length, box);
    ordered.forEach((tile, i) => places[i] && tile.place(places[i]));
  }

  /// Measures every picture. Returns the sums both ways, in kbit/s, and the round trip.
  async measure() {
    const readings = await Promise.all([...this.#tiles.values()].map((tile) => tile.measure()));
    const sum = (own) => readings.filter((one) => one.own === own)
      .reduce((total, one) => total + one.kbps, 0);
    const rttMs = readings.map((one) => one.rttMs).find((one) => one !== undefined);
    return { inKbps: sum(false), outKbps: sum(true), rttMs };
  }

  clear() {
    for (const tile of this.#tiles.values()) tile.remove();
    this.#tiles.clear();
  }
}
