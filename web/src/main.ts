// Entry: shows the lobby, then the room, then the lobby again.
import './style.css';
import { showLobby } from './lobby';
import { showRoom } from './room';

const app = document.getElementById('app')!;
let notice = '';

for (;;) {
  const session = await showLobby(app, notice);
  notice = await showRoom(app, session);
}
