// The picture beside the form: what the others will see.

import { TestPicture } from './picture.js';

export class Preview {
  #frame;
  #form;
  #picture = null;
  #stream = null;
  /// Choices may change while the browser still asks for the camera: only the last one counts.
  #attempt = 0;

  constructor(frame, form) {
    this.#frame = frame;
    this.#form = form;
    form.addEventListener('change', ({ target }) => {
      if (target.name === 'picture') this.resume();
    });
    form.elements.name.addEventListener('input', () => {
      this.#picture?.setName(this.#name);
      this.#frame.querySelector('.initial').textContent = [...this.#name][0]?.toUpperCase() ?? '?';
    });
    frame.querySelector('button').addEventListener('click', () => this.#showCamera());
  }

  get #name() {
    return this.#form.elements.name.value.trim();
  }

  resume() {
    this.pause();
    const choice = this.#form.elements.picture.value;
    this.#frame.dataset.picture = choice;
    this.#frame.querySelector('.initial').textContent = [...this.#name][0]?.toUpperCase() ?? '?';
    if (choice !== 'test') return;
    this.#picture = new TestPicture(this.#name);
    this.#frame.querySelector('.canvas').replaceChildren(this.#picture.start());
  }

  /// The browser asks only when somebody asked for it.
  async #showCamera() {
    const attempt = this.#attempt;
    const say = this.#frame.querySelector('.say');
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 } });
      if (attempt !== this.#attempt) {
        for (const track of stream.getTracks()) track.stop();
        return;
      }
      this.#stream = stream;
      this.#frame.querySelector('video').srcObject = stream;
      this.#frame.dataset.picture = 'live';
    } catch (error) {
      say.textContent = error.name === 'NotAllowedError'
        ? 'The browser does not allow the camera for this page. You can join with the test picture.'
        : `The camera gives no picture: ${error.message}`;
    }
  }

  pause() {
    this.#attempt += 1;
    this.#picture?.stop();
    this.#picture = null;
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    this.#frame.querySelector('video').srcObject = null;
    this.#frame.querySelector('.say').textContent = 'The camera starts when you join.';
  }
}
