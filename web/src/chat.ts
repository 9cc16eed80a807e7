// Chat beside the grid, over LiveKit text streams so that every LiveKit client can take part.
import { type Room } from 'livekit-client';
import { el, icon } from './dom';

const TOPIC = 'lk.chat';

export class Chat {
  readonly root: HTMLElement;
  private readonly log = el('ol', { class: 'messages', 'aria-live': 'polite', 'aria-label': 'Messages' });
  private readonly input = el('input', { placeholder: 'Message everyone', 'aria-label': 'Message', maxlength: '4000', autocomplete: 'off' });

  /** `unread` is told of messages that arrive while the chat is closed. */
  constructor(private readonly room: Room, private readonly unread: () => void) {
    const form = el('form', { class: 'compose' }, this.input,
      el('button', { type: 'submit', class: 'round', 'aria-label': 'Send' }, icon('send')));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.send();
    });
    this.root = el('aside', { class: 'chat', hidden: true, 'aria-label': 'Chat' }, this.log, form);
    room.registerTextStreamHandler(TOPIC, async (reader, from) => {
      const sender = room.remoteParticipants.get(from.identity);
      this.add(sender?.name || from.identity, await reader.readAll(), false);
    });
  }

  /** Opens or closes; returns whether it is open now. */
  toggle(): boolean {
    this.root.hidden = !this.root.hidden;
    if (!this.root.hidden) this.input.focus();
    return !this.root.hidden;
  }

  private async send(): Promise<void> {
    const text = this.input.value.trim();
    if (!text) return;
    this.input.value = '';
    try {
      await this.room.localParticipant.sendText(text, { topic: TOPIC });
      this.add('You', text, true);
    } catch (error) {
      this.input.value = text;
      this.add('Plenum', `Not sent: ${error instanceof Error ? error.message : error}`, true);
    }
  }

  private add(who: string, text: string, own: boolean): void {
    const time = new Date().toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    this.log.append(el('li', { class: own ? 'own' : '' }, el('span', { class: 'muted small' }, `${who} · ${time}`), el('p', {}, text)));
    this.log.lastElementChild?.scrollIntoView({ block: 'end' });
    if (this.root.hidden && !own) this.unread();
  }
}
