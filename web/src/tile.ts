// One tile: a camera or a screen of one participant, with name, state and a quality overlay.
import { type Participant, type Track, type TrackPublication, ConnectionQuality } from 'livekit-client';
import { el, icon, initials } from './dom';

export class Tile {
  readonly root: HTMLElement;
  readonly overlay = el('pre', { class: 'overlay', 'aria-hidden': 'true' });
  private readonly picture = el('div', { class: 'picture' });
  private readonly avatar: HTMLElement;
  private readonly muted = el('span', { class: 'badge', title: 'Microphone off' });
  private readonly bars = el('span', { class: 'bars', title: 'Connection' });
  private track?: Track;

  constructor(readonly participant: Participant, readonly screen: boolean) {
    const name = participant.name || participant.identity;
    this.avatar = el('div', { class: 'avatar' }, initials(name));
    this.muted.append(icon('mic', true));
    const label = screen ? `${name}'s screen` : participant.isLocal ? `${name} (you)` : name;
    this.root = el('figure', { class: screen ? 'tile screen' : 'tile', tabindex: '0', 'aria-label': label },
      this.avatar, this.picture, this.overlay,
      el('figcaption', {}, this.bars, el('span', { class: 'name' }, label), screen ? '' : this.muted));
    this.root.dataset.identity = participant.identity;
    this.root.addEventListener('dblclick', () => void this.root.requestFullscreen?.());
  }

  /** Shows the publication's picture, or the initials when there is none. */
  show(publication: TrackPublication | undefined): void {
    const track = publication && !publication.isMuted ? publication.track : undefined;
    if (track !== this.track) {
      this.track?.detach().forEach((node) => node.remove());
      this.track = track;
      if (track) {
        const video = track.attach() as HTMLVideoElement;
        video.playsInline = true;
        this.picture.replaceChildren(video);
      } else {
        this.picture.replaceChildren();
      }
    }
    this.root.classList.toggle('has-picture', !!track);
    this.root.classList.toggle('mirror', this.participant.isLocal && !this.screen);
  }

  /** The track that is shown. */
  get shown(): Track | undefined {
    return this.track;
  }

  refresh(): void {
    this.muted.hidden = this.participant.isMicrophoneEnabled;
    this.root.classList.toggle('speaking', !this.screen && this.participant.isSpeaking);
    const quality = this.participant.connectionQuality ?? ConnectionQuality.Unknown;
    this.bars.hidden = quality === ConnectionQuality.Unknown;
    this.bars.dataset.quality = quality;
    this.bars.title = `Connection: ${quality}`;
  }

  remove(): void {
    this.track?.detach().forEach((node) => node.remove());
    this.root.remove();
  }
}
