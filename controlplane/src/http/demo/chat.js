// Text beside the call: LiveKit's text streams on the topic that its own components use.

const TOPIC = 'lk.chat';
const MESSAGES_MAX = 300;

export class Chat {
  #panel = document.querySelector('#chat');
  #log = document.querySelector('#chat-log');
  #form = document.querySelector('#chat-form');
  #button = document.querySelector('#chat-button');
  #room = null;
  #unread = 0;
  #lastAuthor = null;

  constructor() {
    this.#button.addEventListener('click', () => this.#open(this.#panel.hidden));
    document.querySelector('#chat-close').addEventListener('click', () => this.#open(false));
    this.#panel.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.#open(false);
    });
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
  }

  /// Begins anew with a room that is about to connect.
  start(room) {
    this.#room = room;
    this.#log.replaceChildren();
    this.#lastAuthor = null;
    this.#count(0);
    room.registerTextStreamHandler(TOPIC, async (reader, { identity }) => {
      const text = await reader.readAll();
      const author = room.getParticipantByIdentity(identity);
      this.#write(author?.name || identity, text, reader.info.timestamp);
      if (this.#panel.hidden) this.#count(this.#unread + 1);
    });
  }

  /// A line about the room itself.
  note(text) {
    const line = document.createElement('li');
    line.className = 'note';
    line.textContent = text;
    this.#lastAuthor = null;
    this.#append(line);
  }

  async #send() {
    const field = this.#form.elements.text;
    const text = field.value.trim();
    if (!text || !this.#room) return;
    field.value = '';
    try {
      await this.#room.localParticipant.sendText(text, { topic: TOPIC });
      const own = this.#room.localParticipant;
      this.#write(own.name || own.identity, text, Date.now(), true);
    } catch (error) {
      field.value = text;
      this.note(`Not sent: ${error.message}`);
    }
  }

  #write(author, text, at, own = false) {
    const line = document.createElement('li');
    line.className = own ? 'own' : '';
    const time = new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    if (author !== this.#lastAuthor) {
      const head = document.createElement('p');
      head.className = 'head';
      const name = document.createElement('b');
      name.textContent = own ? 'You' : author;
      const when = document.createElement('time');
      when.textContent = time;
      head.append(name, when);
      line.append(head);
    }
    this.#lastAuthor = author;
    const body = document.createElement('p');
    body.className = 'body';
    body.textContent = text;
    line.append(body);
    this.#append(line);
  }

  #append(line) {
    const atEnd = this.#log.scrollTop + this.#log.clientHeight >= this.#log.scrollHeight - 40;
    this.#log.append(line);
    while (this.#log.childElementCount > MESSAGES_MAX) this.#log.firstElementChild.remove();
    if (atEnd) this.#log.scrollTop = this.#log.scrollHeight;
  }

  #open(open) {
    this.#panel.hidden = !open;
    this.#button.setAttribute('aria-expanded', String(open));
    if (open) {
      this.#count(0);
      this.#log.scrollTop = this.#log.scrollHeight;
      this.#form.elements.text.focus();
    } else {
      this.#button.focus();
    }
  }

  #count(unread) {
    this.#unread = unread;
    const badge = this.#button.querySelector('.badge');
    badge.hidden = unread === 0;
    badge.textContent = unread > 99 ? '99+' : String(unread);
    this.#button.setAttribute('aria-label', unread ? `Chat, ${unread} unread` : 'Chat');
  }

  close() {
    this.#room = null;
    this.#panel.hidden = true;
    this.#button.setAttribute('aria-expanded', 'false');
  }
}
