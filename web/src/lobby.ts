// The lobby: a name, a room, a look at oneself, and a token from the server.
import { el, icon } from './dom';

/** What the room needs to connect. */
export interface Session {
  url: string;
  token: string;
  room: string;
  name: string;
  microphone: boolean;
  camera: boolean;
  /** Force LiveKit's dual peer connection mode (`?pc=dual`). */
  dual: boolean;
}

let arrived = false;

/** Shows the lobby until somebody joins. `notice` says why the last call ended. */
export function showLobby(app: HTMLElement, notice: string): Promise<Session> {
  const query = new URLSearchParams(location.search);
  return new Promise((resolve) => {
    const name = el('input', {
      id: 'name', autocomplete: 'name', maxlength: '64', required: true, placeholder: 'Ada Lovelace',
      value: query.get('name') ?? localStorage.getItem('plenum.name') ?? '',
    });
    const room = el('input', {
      id: 'room', autocomplete: 'off', maxlength: '128', required: true, placeholder: 'standup',
      value: query.get('room') ?? localStorage.getItem('plenum.room') ?? 'plenum',
    });
    const microphone = el('input', { type: 'checkbox', checked: query.get('mic') !== '0' });
    const camera = el('input', { type: 'checkbox', checked: query.get('camera') !== '0' });
    const problem = el('p', { class: 'problem', role: 'alert', hidden: !notice }, notice);
    const button = el('button', { type: 'submit', class: 'primary' }, 'Join');

    const form = el('form', { class: 'card lobby', 'aria-label': 'Join a room' },
      el('div', { class: 'brand' }, el('img', { src: '/favicon.svg', alt: '', width: '40', height: '40' }),
        el('div', {}, el('h1', {}, 'Plenum'), el('p', { class: 'muted' }, 'Join a room to see and hear each other.'))),
      problem,
      el('label', { for: 'name' }, 'Your name'), name,
      el('label', { for: 'room' }, 'Room'), room,
      el('div', { class: 'toggles' },
        el('label', { class: 'toggle' }, microphone, icon('mic'), el('span', {}, 'Microphone')),
        el('label', { class: 'toggle' }, camera, icon('camera'), el('span', {}, 'Camera'))),
      button,
      el('p', { class: 'muted small' }, 'In the room: M microphone, V camera, S screen, C chat, Q quality, L leave.'));

    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      button.disabled = true;
      button.textContent = 'Joining…';
      try {
        const token = await fetchToken(room.value.trim(), name.value.trim());
        localStorage.setItem('plenum.name', name.value.trim());
        localStorage.setItem('plenum.room', room.value.trim());
        resolve({
          url: location.origin.replace(/^http/, 'ws'), token, room: room.value.trim(), name: name.value.trim(),
          microphone: microphone.checked, camera: camera.checked, dual: query.get('pc') === 'dual',
        });
      } catch (error) {
        problem.hidden = false;
        problem.textContent = error instanceof Error ? error.message : String(error);
        button.disabled = false;
        button.textContent = 'Join';
      }
    });
    app.replaceChildren(el('main', { class: 'center' }, form));
    (name.value ? button : name).focus();
    // A link may join at once, but only on arrival: who leaves wants to stay out.
    if (query.get('join') === '1' && !arrived && name.value && room.value) form.requestSubmit();
    arrived = true;
  });
}

async function fetchToken(room: string, name: string): Promise<string> {
  const query = new URLSearchParams({ room, name });
  const response = await fetch(`/plenum/token?${query}`).catch(() => {
    throw new Error('The server does not answer. Is it still running?');
  });
  if (!response.ok) throw new Error(`No token: ${(await response.text()) || response.statusText}`);
  return ((await response.json()) as { token: string }).token;
}
