// The room: grid, controls, keyboard, connection state. Lives from join to leave.
import { ConnectionState, DisconnectReason, Room, RoomEvent, Track, type Participant } from 'livekit-client';
import { Chat } from './chat';
import { el, icon } from './dom';
import { type Session } from './lobby';
import { describe } from './quality';
import { Tile } from './tile';

const REASONS: Partial<Record<DisconnectReason, string>> = {
  [DisconnectReason.DUPLICATE_IDENTITY]: 'You joined from somewhere else, so this tab left.',
  [DisconnectReason.SERVER_SHUTDOWN]: 'The server was stopped.',
  [DisconnectReason.PARTICIPANT_REMOVED]: 'You were removed from the room.',
  [DisconnectReason.ROOM_DELETED]: 'The room was closed.',
};

/** Runs a call; resolves with a notice for the lobby when it is over. */
export async function showRoom(app: HTMLElement, session: Session): Promise<string> {
  const room = new Room({
    adaptiveStream: true,
    dynacast: true,
    singlePeerConnection: !session.dual,
  });
  (window as unknown as { plenumRoom: Room }).plenumRoom = room;
  const view = new RoomView(room, session);
  app.replaceChildren(view.root);
  try {
    await room.connect(session.url, session.token);
  } catch (error) {
    view.close();
    return `Could not join: ${error instanceof Error ? error.message : error}`;
  }
  const over = new Promise<string>((resolve) => {
    room.once(RoomEvent.Disconnected, (reason) => resolve((reason !== undefined && REASONS[reason]) || ''));
  });
  view.start();
  const notice = await over;
  view.close();
  return notice;
}

class RoomView {
  readonly root: HTMLElement;
  private readonly grid = el('div', { class: 'grid', 'aria-label': 'Participants' });
  private readonly banner = el('div', { class: 'banner', role: 'status', hidden: true });
  private readonly count = el('span', { class: 'muted small' });
  private readonly tiles = new Map<string, Tile>();
  private readonly buttons: Record<'mic' | 'camera' | 'screen' | 'chat' | 'stats', HTMLButtonElement>;
  private readonly chat: Chat;
  private readonly onKey = (event: KeyboardEvent) => this.key(event);
  private timer?: number;

  constructor(private readonly room: Room, private readonly session: Session) {
    this.buttons = {
      mic: this.button('mic', 'Microphone (M)', () => this.device('mic')),
      camera: this.button('camera', 'Camera (V)', () => this.device('camera')),
      screen: this.button('screen', 'Share screen (S)', () => this.device('screen')),
      chat: this.button('chat', 'Chat (C)', () => this.toggleChat()),
      stats: this.button('stats', 'Quality (Q)', () => this.toggleStats()),
    };
    this.chat = new Chat(room, () => this.buttons.chat.classList.add('unread'));
    const leave = el('button', { class: 'round leave', title: 'Leave (L)', 'aria-label': 'Leave (L)', onclick: () => void room.disconnect() }, icon('leave'));
    this.root = el('main', { class: 'room' },
      el('header', {}, el('img', { src: '/favicon.svg', alt: '', width: '24', height: '24' }), el('strong', {}, session.room), this.count),
      this.banner,
      el('div', { class: 'stage' }, this.grid, this.chat.root),
      el('nav', { class: 'controls', 'aria-label': 'Controls' }, ...Object.values(this.buttons), leave));
    this.wire();
    this.say('Connecting…');
  }

  start(): void {
    document.addEventListener('keydown', this.onKey);
    this.timer = window.setInterval(() => void this.measure(), 1000);
    this.root.classList.toggle('stats', localStorage.getItem('plenum.stats') === '1');
    this.layout();
    if (this.session.microphone) void this.device('mic');
    if (this.session.camera) void this.device('camera');
  }

  close(): void {
    document.removeEventListener('keydown', this.onKey);
    window.clearInterval(this.timer);
    this.tiles.forEach((tile) => tile.remove());
  }

  private wire(): void {
    const again = () => this.layout();
    for (const event of [
      RoomEvent.ParticipantConnected, RoomEvent.ParticipantDisconnected, RoomEvent.TrackSubscribed, RoomEvent.TrackUnsubscribed,
      RoomEvent.TrackMuted, RoomEvent.TrackUnmuted, RoomEvent.LocalTrackPublished, RoomEvent.LocalTrackUnpublished,
      RoomEvent.ActiveSpeakersChanged, RoomEvent.ConnectionQualityChanged, RoomEvent.ParticipantNameChanged,
    ] as const) {
      this.room.on(event, again);
    }
    this.room.on(RoomEvent.TrackSubscribed, (track) => {
      if (track.kind === Track.Kind.Audio) this.root.append(track.attach());
    });
    this.room.on(RoomEvent.TrackUnsubscribed, (track) => {
      if (track.kind === Track.Kind.Audio) track.detach().forEach((node) => node.remove());
    });
    this.room.on(RoomEvent.AudioPlaybackStatusChanged, () => {
      if (!this.room.canPlaybackAudio) this.say('Click anywhere to hear the others.');
      else this.say('');
    });
    this.root.addEventListener('click', () => {
      if (!this.room.canPlaybackAudio) void this.room.startAudio();
    });
    this.room.on(RoomEvent.ConnectionStateChanged, (state) => {
      const texts: Partial<Record<ConnectionState, string>> = {
        [ConnectionState.Connecting]: 'Connecting…',
        [ConnectionState.Reconnecting]: 'Connection lost, reconnecting…',
        [ConnectionState.SignalReconnecting]: 'Connection lost, reconnecting…',
      };
      this.say(texts[state] ?? '');
    });
  }

  /** Brings the tiles into line with who is here and what they send. */
  private layout(): void {
    const wanted = new Map<string, [Participant, boolean]>();
    const everybody: Participant[] = [...this.room.remoteParticipants.values(), this.room.localParticipant];
    for (const who of everybody) {
      if (who.getTrackPublication(Track.Source.ScreenShare)) wanted.set(`${who.identity}/screen`, [who, true]);
    }
    for (const who of everybody) wanted.set(`${who.identity}/camera`, [who, false]);
    for (const [key, tile] of this.tiles) {
      if (wanted.get(key)?.[0] !== tile.participant) {
        tile.remove();
        this.tiles.delete(key);
      }
    }
    for (const [key, [who, screen]] of wanted) {
      let tile = this.tiles.get(key);
      if (!tile) {
        tile = new Tile(who, screen);
        this.tiles.set(key, tile);
        if (screen) this.grid.prepend(tile.root);
        else this.grid.append(tile.root);
      }
      tile.show(who.getTrackPublication(screen ? Track.Source.ScreenShare : Track.Source.Camera));
      tile.refresh();
    }
    const screens = [...wanted.values()].some(([, screen]) => screen);
    this.grid.classList.toggle('with-screen', screens);
    this.grid.style.setProperty('--columns', String(Math.ceil(Math.sqrt(wanted.size))));
    this.count.textContent = everybody.length === 1 ? 'Only you are here' : `${everybody.length} people`;
    const me = this.room.localParticipant;
    this.set('mic', me.isMicrophoneEnabled);
    this.set('camera', me.isCameraEnabled);
    this.buttons.screen.setAttribute('aria-pressed', String(me.isScreenShareEnabled));
  }

  private set(name: 'mic' | 'camera', on: boolean): void {
    this.buttons[name].setAttribute('aria-pressed', String(on));
    this.buttons[name].replaceChildren(icon(name, !on));
  }

  private button(name: string, label: string, act: () => unknown): HTMLButtonElement {
    return el('button', { class: 'round', title: label, 'aria-label': label, 'aria-pressed': 'false', onclick: () => void act() }, icon(name));
  }

  private async device(which: 'mic' | 'camera' | 'screen'): Promise<void> {
    const me = this.room.localParticipant;
    try {
      if (which === 'mic') await me.setMicrophoneEnabled(!me.isMicrophoneEnabled);
      if (which === 'camera') await me.setCameraEnabled(!me.isCameraEnabled);
      if (which === 'screen') await me.setScreenShareEnabled(!me.isScreenShareEnabled, { audio: true });
    } catch (error) {
      const cancelled = which === 'screen' && error instanceof DOMException && error.name === 'NotAllowedError';
      if (!cancelled) this.say(error instanceof Error ? error.message : String(error), 5000);
    }
    this.layout();
  }

  private toggleChat(): void {
    this.buttons.chat.classList.remove('unread');
    this.buttons.chat.setAttribute('aria-pressed', String(this.chat.toggle()));
  }

  private toggleStats(): void {
    const on = this.root.classList.toggle('stats');
    localStorage.setItem('plenum.stats', on ? '1' : '0');
    this.buttons.stats.setAttribute('aria-pressed', String(on));
    void this.measure();
  }

  private async measure(): Promise<void> {
    if (!this.root.classList.contains('stats')) return;
    for (const tile of this.tiles.values()) tile.overlay.textContent = await describe(tile.shown);
  }

  private key(event: KeyboardEvent): void {
    const typing = event.target instanceof HTMLInputElement;
    if (event.key === 'Escape' && typing) (event.target as HTMLElement).blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const acts: Record<string, () => unknown> = {
      m: () => this.device('mic'), v: () => this.device('camera'), s: () => this.device('screen'),
      c: () => this.toggleChat(), q: () => this.toggleStats(), l: () => this.room.disconnect(),
    };
    const act = acts[event.key.toLowerCase()];
    if (act) {
      event.preventDefault();
      void act();
    }
  }

  private say(text: string, clearAfterMs = 0): void {
    this.banner.textContent = text;
    this.banner.hidden = !text;
    if (clearAfterMs) window.setTimeout(() => this.banner.textContent === text && this.say(''), clearAfterMs);
  }
}
